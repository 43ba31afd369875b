"""Parsing a block at once gives the same as parsing it line by line, or falls back to that."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.runs.store import TableWriter, reader
from lop_engine.runs.store.layout import document_line
from tests.runs.store.test_any_history import documents

flat = st.dictionaries(
    st.sampled_from(["task", "seconds", "accuracy"]), st.none() | st.floats(0, 1) | st.integers(0, 2**60)
)
odd_bytes = [b"{", b"}", b'"', b",", b"\n", b" ", b"\\", b"\r", b"}},", b',\n"2": {', b"\xff", b"\x00"]
damages = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from([b"", *odd_bytes])), max_size=2)

ODD_BLOCKS = [
    b'\n"1": {"a": {"b":1},\n"2": {}}, "2":{}\n}}\n',
    b'\n"1": {"a": {"b":1},\n"2": {}}, "2": {}\n}}\n',
    b'\n"1": {} ,\n"2": {}\n}}\n',
    b'\n"1": {},\n"2": {} \n}}\n',
    b'\n"1":{},\n"2": {}\n}}\n',
    b'\n"1": {},\n"1": {}\n}}\n',
    b'\n"1": {},\n"\\u0032": {}\n}}\n',
    b'\n"1": {},\n\n"2": {}\n}}\n',
    b'\n"1": {}, "2": {},\n"3": {}\n}}\n',
    b'\n"1": {"a":\n1}\n}}\n',
    b'\n"1": [{}],\n"2": {}\n}}\n',
    b'\n"1": {"text":"{"},\n"2": 5\n}}\n',
    b'\n"1": {"text":"{"},\n"2": {}\n}}\n',
    b'\n"1": {},\n"2": {},\n}}\n',
    b'\n"1": {},\n"3": {}\n}}\n',
    b'\n"2": {}\n}}\n',
    b'\n"1": {}\n}}\n}}\n',
    b',\n"1": {}\n}}\n',
    b',}}\n"1": {}\n}}\n',
    b'x\n"1": {}\n}}\n',
    b"\n}}\n",
    b"}}\n",
    b"",
]


def outcome(parse, block, number):
    """Return the documents and bytes of a block, or the error message."""
    try:
        return parse(block, number)
    except reader.OutOfStepError as problem:
        return str(problem)


def line_by_line(block, number, at_once=reader.parse_at_once):
    reader.parse_at_once = lambda *_: None
    try:
        return reader.parse(block, number)
    finally:
        reader.parse_at_once = at_once


def test_blocks_written_by_a_worker_are_parsed_at_once(tmp_path):
    path = tmp_path / "tasks.json"
    written = [{"task": task, "classes": [3, 4], "curvature": None} for task in range(9)]
    with TableWriter(path, "tasks") as writer:
        writer.extend(written)
    block = path.read_bytes().removeprefix(b'{"tasks": {')
    assert reader.parse_at_once(block, 0) == written


def test_blocks_that_only_look_complete_are_parsed_line_by_line():
    for block in ODD_BLOCKS:
        assert outcome(reader.parse, block, 0) == outcome(line_by_line, block, 0), block


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(flat | documents, max_size=6), st.integers(0, 12), st.integers(-1, 1), damages, st.integers(0, 9))
def test_both_ways_agree_on_complete_torn_damaged_and_renumbered_blocks(written, number, shift, damage, torn):
    lines = [document_line(number + shift + index, one) for index, one in enumerate(written, start=1)]
    block = (b"," * (number > 0 and bool(lines)) + b"\n" + b",\n".join(lines)).rstrip(b"\n") + b"\n}}\n"
    for share, num_bytes, odd in damage:
        at = int(share * len(block))
        block = block[:at] + odd + block[at + num_bytes :]
    block = block[: len(block) - max(0, torn - 4)]
    assert outcome(reader.parse, block, number) == outcome(line_by_line, block, number)
