"""After any history of a record file, a reader sees its complete documents, each once and in order."""

import json
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tinydb import TinyDB

from lop_engine.runs.store import TableTail, TableWriter, open_readonly, read_table

texts = st.text(max_size=8) | st.sampled_from(["\n}}\n", ',\n"2": {', '"', "\\", "}},", "ü\u2028", "\x00", "🙂"])
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e300, 1e300)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(texts, values, max_size=4)

steps = st.one_of(
    st.tuples(st.just("append"), documents),
    st.tuples(st.just("extend"), st.lists(documents, max_size=4)),
    st.tuples(st.just("append large"), st.integers(60_000, 200_000)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("cut back"), st.floats(0, 1)),
    st.tuples(st.just("tear"), st.integers(0, 120)),
    st.tuples(st.just("spoil"), st.binary(min_size=1, max_size=40) | st.text('\n}{",:0', min_size=1).map(str.encode)),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(steps, max_size=12))
@example([("append", {}), ("tear", 4)])
@example([("extend", [{}, {}]), ("tear", 12)])
def test_a_reader_sees_exactly_the_complete_documents(history):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tasks.json"
        writer = TableWriter(path, "tasks")
        held, follower = [], Follower(path)
        for step, argument in history:
            if step == "append":
                held.append(argument)
                assert writer.append(argument) == len(held)
            elif step == "extend":
                held += argument
                assert writer.extend(argument) == len(held)
            elif step == "append large":
                held.append({"text": "x" * argument})
                writer.append(held[-1])
            else:
                writer.close()
                keep = None
                if step == "cut back":
                    keep = int(argument * len(held))
                    held = held[:keep]
                if step in ("tear", "spoil"):
                    content = path.read_bytes()
                    content = content[: -argument or None] if step == "tear" else spoil(content, argument)
                    path.write_bytes(content)
                    held = held[: num_whole_lines(content)]
                    assert read_table(path) == held
                    assert follower.read() == held
                before = len(held)
                writer = TableWriter(path, "tasks", keep)
                # For the writer, a document that lost only its newline is complete.
                assert before <= writer.num_documents <= before + (step == "tear")
                held = read_table(path)
                assert len(held) == writer.num_documents
            assert read_table(path) == held
            assert follower.read() == held
            assert stock_tinydb(path) == held
        writer.close()
        assert open_readonly(path).table("tasks").all() == held


class Follower:
    """A caller of `TableTail` that follows its docstring; `documents` are those it has."""

    def __init__(self, path):
        self.tail, self.restarts, self.held = TableTail(path), 0, []

    def read(self):
        new = self.tail.read_new()
        if self.tail.restarts != self.restarts:
            self.restarts, self.held = self.tail.restarts, []
        self.held += new
        return self.held


def spoil(content, garbage):
    """Write garbage over the last bytes, at most back to the first line."""
    start = max(content.index(b"\n") + 1, len(content) - len(garbage))
    return content[:start] + garbage[: len(content) - start]


def num_whole_lines(content):
    """Return the number of leading documents whose lines are complete, newlines included."""
    lines = content.split(b"\n")[1:-1]
    for index, line in enumerate(lines):
        try:
            if list(json.loads(b"{" + line.removesuffix(b",") + b"}")) != [str(index + 1)]:
                return index
        except ValueError:
            return index
    return len(lines)


def stock_tinydb(path):
    with TinyDB(path) as db:
        return [dict(document) for document in db.table("tasks").all()]
