"""Valid TinyDB JSON in another layout is read by every reader and rewritten by a writer; a torn file of lop is not."""

import json
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tinydb import TinyDB, where

from lop_engine.errors import StoreError
from lop_engine.runs.store import (
    TableTail,
    TableWriter,
    num_whole_documents,
    open_readonly,
    read_table,
    read_task,
    repair_table,
    tail_task,
)
from tests.runs.store.test_any_history import Follower, num_whole_lines

HELD = [{"task": task, "classes": [task, 7], "curvature": None, "text": 'a "ü\u2028"'} for task in range(4)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tasks.json"
    with TableWriter(path, "tasks") as writer:
        writer.extend(HELD)
    return path


def with_tinydb(path):
    with TinyDB(path) as db:
        db.table("tasks").update({"curvature": None}, where("task") == 1)


def with_another_table(path):
    with TinyDB(path) as db:
        db.insert({"task": 99})


def with_gaps(path):
    with TinyDB(path) as db:
        table = db.table("tasks")
        table.insert_multiple([{"task": -1}, *HELD])
        table.remove(doc_ids=[1, 2, 3, 4, 5])


def as_text(path, write):
    path.write_text(write(json.loads(path.read_text())))


def lines(path, change):
    path.write_bytes(b"\n".join(change(path.read_bytes().split(b"\n"))))


LAYOUTS = {
    "tinydb": with_tinydb,
    "another table": with_another_table,
    "gaps": with_gaps,
    "indented": lambda path: as_text(path, lambda content: json.dumps(content, indent=2)),
    "sorted by another order": lambda path: as_text(
        path, lambda content: json.dumps({"tasks": dict(reversed(content["tasks"].items()))}, indent="\t")
    ),
    "compact": lambda path: as_text(path, lambda content: json.dumps(content, separators=(",", ":"))),
    "CRLF": lambda path: lines(path, lambda all: [line + b"\r" for line in all[:-1]] + [b""]),
    "one CRLF": lambda path: lines(path, lambda all: [*all[:2], all[2] + b"\r", *all[3:]]),
    "last line CRLF": lambda path: lines(path, lambda all: [*all[:4], all[4] + b"\r", *all[5:]]),
    "byte order mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "UTF-16": lambda path: path.write_bytes(path.read_text().encode("utf-16")),
    "indented lines": lambda path: lines(path, lambda all: [all[0], *(b"  " + line for line in all[1:-1]), b""]),
    "last line indented": lambda path: lines(path, lambda all: [*all[:4], b"  " + all[4], *all[5:]]),
    "blank lines": lambda path: path.write_bytes(path.read_bytes() + b"\n  \n"),
    "NaN": lambda path: path.write_bytes(path.read_bytes().replace(b"null", b"NaN").replace(b"\n", b"")),
}


@pytest.fixture(params=LAYOUTS)
def resaved(path, request):
    LAYOUTS[request.param](path)
    return path


def test_every_reader_reads_another_layout(resaved):
    assert read_table(resaved) == HELD
    assert tail_task(resaved) == 3
    assert [read_task(resaved, task) for task in range(5)] == [[one] for one in HELD] + [[]]
    assert open_readonly(resaved).table("tasks").all() == HELD
    assert num_whole_documents(resaved) == 4


def test_a_writer_rewrites_another_layout_and_keeps_the_old_file(resaved):
    before = resaved.read_bytes()
    with TableWriter(resaved, "tasks", keep=3) as writer:
        assert writer.resaved is None or writer.resaved.read_bytes() == before
        writer.append({"task": 3, "again": True})
    assert read_table(resaved) == [*HELD[:3], {"task": 3, "again": True}]
    tail = TableTail(resaved)
    tail.read_new()
    assert not tail.is_resaved


def test_repair_keeps_all_documents_of_another_layout(resaved):
    before = resaved.read_bytes()
    done = repair_table(resaved, "tasks")
    assert (done.num_documents, done.dropped, done.backup.read_bytes()) == (4, [], before)
    assert read_table(resaved) == HELD
    assert resaved.read_bytes().startswith(b'{"tasks": {\n"1": {"task":0,')


def test_a_follower_restarts_when_another_program_saved_the_file(resaved):
    path = resaved.with_name("followed") / "tasks.json"
    path.parent.mkdir()
    with TableWriter(path, "tasks") as writer:
        writer.extend(HELD[:2])
    follower = Follower(path)
    assert follower.read() == HELD[:2]
    path.write_bytes(resaved.read_bytes())
    assert follower.read() == HELD
    with TableWriter(path, "tasks") as writer:
        writer.append({"task": 4})
    assert follower.read() == [*HELD, {"task": 4}]


def counted_reads(monkeypatch):
    read, pread = [], os.pread

    def counting(fd, num_bytes, offset):
        read.append(len(pread(fd, num_bytes, offset)))
        return pread(fd, num_bytes, offset)

    monkeypatch.setattr(os, "pread", counting)
    return read


@pytest.mark.parametrize("cut", [0, 1000])
def test_a_large_file_is_parsed_only_once_until_it_changes(tmp_path, monkeypatch, cut):
    path = tmp_path / "epochs.json"
    documents = {str(number): {"task": number // 10, "epoch": number % 10} for number in range(20_000)}
    path.write_text(json.dumps({"epochs": documents})[: -cut or None])
    os.utime(path, (1e9, 1e9))
    tail, read = TableTail(path), counted_reads(monkeypatch)
    parsed, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: parsed.append(path) or read_bytes(path))
    for look in range(4):
        read.clear()
        for reading in (tail.read_new, lambda: read_task(path, 700), lambda: tail_task(path)):
            with pytest.raises(StoreError, match="line 1: not a record file") if cut else nullcontext():
                reading()
        assert look == 0 or sum(read) < 5000
    assert len(parsed) == 1
    path.write_text(json.dumps({"epochs": {"1": {"task": 0, "epoch": 0}}}))
    assert tail.read_new() == read_task(path, 0) == [{"task": 0, "epoch": 0}]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_in_no_valid_layout_is_damage_and_its_complete_documents_are_kept(path, indent):
    text = json.dumps(json.loads(path.read_text()), indent=indent)
    torn = text[: text.index('"4"') + 20]
    path.write_text(torn)
    line = torn.count("\n") + 1
    for read in (read_table, tail_task, lambda path: read_task(path, 0), lambda path: TableWriter(path, "tasks")):
        with pytest.raises(StoreError, match=rf"tasks\.json: line {line}: not a record file: not valid JSON"):
            read(path)
    with pytest.raises(StoreError, match="lop doctor --repair keeps its 3 whole documents"):
        TableWriter(path, "tasks")
    assert path.read_text() == torn
    done = repair_table(path, "tasks")
    assert (done.num_documents, done.backup.read_text()) == (3, torn)
    assert done.dropped[0] == torn[: torn.index('"4"')].count("\n") + 1
    assert read_table(path) == HELD[:3]


def test_a_file_half_overwritten_by_tinydb_loses_and_duplicates_nothing(path):
    old = json.dumps({"tasks": {str(task + 1): {"task": task, "x": 1.5} for task in range(6)}})
    new = json.dumps({"tasks": {str(task + 1): {"task": task, "x": 0.25} for task in range(6)}})
    path.write_text(new[:100] + old[100:])
    repair_table(path, "tasks")
    assert [one["task"] for one in read_table(path)] == sorted({one["task"] for one in read_table(path)})
    assert len(read_table(path)) >= 5


def test_a_torn_document_does_not_hide_those_after_it(path):
    content = path.read_bytes().split(b"\n")
    content[2] = content[2][: content[2].index(b"null") + 4] + b","
    path.write_bytes(b"\n".join(content))
    done = repair_table(path, "tasks")
    assert (done.num_documents, done.dropped) == (3, [3])
    assert read_table(path) == [HELD[0], *HELD[2:]]


def test_documents_missing_between_lines_are_damage(path):
    lines(path, lambda all: [*all[:2], *all[3:]])
    with pytest.raises(StoreError, match="line 3: document 3 where 2 is due"):
        read_table(path)


def test_the_old_file_is_copied_if_links_are_not_possible(path, monkeypatch):
    def refuse(*paths):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with_tinydb(path)
    before = path.read_bytes()
    with TableWriter(path, "tasks") as writer:
        assert writer.resaved.read_bytes() == before


steps = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 3)),
    st.tuples(st.just("cut back"), st.floats(0, 1)),
    st.tuples(st.just("tear"), st.integers(1, 60)),
    st.tuples(st.just("resave"), st.sampled_from(sorted(set(LAYOUTS) - {"gaps"}))),
)


def places(documents):
    """Return the documents without values that a layout adds."""
    return [{"task": one["task"]} for one in documents]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(steps, max_size=10))
@example([("append", 3), ("resave", "CRLF"), ("append", 1), ("tear", 3), ("append", 2)])
@example([("append", 3), ("resave", "tinydb"), ("cut back", 0.5), ("resave", "last line CRLF"), ("append", 1)])
def test_every_document_survives_any_history_of_appends_tears_and_resaves(history):
    """Complete documents are read, and appends continue after them, in any layout and after any torn append."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tasks.json"
        held, follower = [], Follower(path)
        TableWriter(path, "tasks").close()
        for step, argument in history:
            if step == "resave":
                if (
                    len(held) > 3
                    and path.read_bytes().startswith(b'{"tasks": {\n"1": {')
                    and b"\r" not in path.read_bytes()
                ):
                    LAYOUTS[argument](path)
            else:
                keep = int(argument * len(held)) if step == "cut back" else None
                if step == "tear":
                    with TableWriter(path, "tasks") as writer:  # only files in lop's layout are torn
                        writer.extend({"task": len(held) + one} for one in range(3))
                    content = path.read_bytes()[:-argument]
                    path.write_bytes(content)
                    whole = num_whole_lines(content.replace(b"\r", b""))
                    held = [{"task": task} for task in range(whole)]
                    assert places(read_table(path)) == held
                    assert places(follower.read()) == held
                held = held[:keep]
                with TableWriter(path, "tasks", keep) as writer:
                    assert len(held) <= writer.num_documents <= len(held) + (step == "tear")
                    held = [{"task": task} for task in range(writer.num_documents)]
                    if step == "append":
                        for _ in range(argument):
                            held.append({"task": len(held)})
                            writer.append(held[-1])
            assert places(read_table(path)) == held
            assert places(follower.read()) == held
            assert tail_task(path) == (held[-1]["task"] if held else None)
            assert all(len(read_task(path, one["task"])) == 1 for one in held)
