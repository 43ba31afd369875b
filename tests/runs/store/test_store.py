"""The record files: appending, following, querying, and refused files."""

import os
import subprocess
import sys

import pytest
from tinydb import TinyDB, where

from lop_engine.errors import StoreError
from lop_engine.runs.store import TableTail, TableWriter, open_readonly, read_table


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.json"


def write(path, num, start=0, **kwargs):
    with TableWriter(path, "tasks", **kwargs) as writer:
        writer.extend({"task": task} for task in range(start, start + num))


def test_the_layout_has_one_document_on_each_line(path):
    write(path, 2)
    assert path.read_text() == '{"tasks": {\n"1": {"task":0},\n"2": {"task":1}\n}}\n'
    assert [p.name for p in path.parent.iterdir()] == ["tasks.json"]


def test_a_number_that_is_not_finite_is_null(path):
    with TableWriter(path, "tasks") as writer:
        writer.append({"accuracy": float("nan"), "curvature": float("inf")})
    assert read_table(path) == [{"accuracy": None, "curvature": None}]


def test_the_cost_of_an_append_does_not_depend_on_the_length_of_the_file(path, monkeypatch):
    written, read = [], []
    pwrite, pread = os.pwrite, os.pread

    def counting_pwrite(fd, content, offset):
        written.append(len(content))
        return pwrite(fd, content, offset)

    def counting_pread(fd, num_bytes, offset):
        content = pread(fd, num_bytes, offset)
        read.append(len(content))
        return content

    with TableWriter(path, "tasks") as writer:
        monkeypatch.setattr(os, "pwrite", counting_pwrite)
        monkeypatch.setattr(os, "pread", counting_pread)
        follower = TableTail(path)
        follower.read_new()
        read.clear()
        for task in range(10_000, 13_000):
            writer.append({"task": task})
            assert len(follower.read_new()) == 1
    assert len(written) == 3000
    assert max(written[9:]) - min(written[9:]) <= len("2999") - len("10")
    assert sum(read) < 3000 * 100
    read.clear()
    TableWriter(path, "tasks").close()
    assert sum(read) < 70_000 < path.stat().st_size


WRITER = """
import sys
from pathlib import Path
from lop_engine.runs.store import TableWriter
path, enough = map(Path, sys.argv[1:])
with TableWriter(path, "tasks") as writer:
    for task in range(0, 200_000, 10):
        for one in range(task, task + 7):
            writer.append({"task": one, "text": "x" * (one % 300)})
        writer.extend({"task": one, "text": "y" * (one % 300)} for one in range(task + 7, task + 10))
        if task >= 20_000 and enough.exists():
            break
"""


def test_a_reader_beside_a_busy_writer_sees_every_document_once_and_in_order(path):
    enough = path.with_name("enough")
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(enough)])
    try:
        tail, tasks, num_bites = TableTail(path), [], 0
        while process.poll() is None:
            new = tail.read_new()
            num_bites += bool(new)
            tasks += [document["task"] for document in new]
            if num_bites >= 20:
                enough.touch()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    tasks += [document["task"] for document in tail.read_new()]
    assert num_bites > 1
    assert len(tasks) >= 20_000
    assert tasks == list(range(len(tasks)))
    assert tail.restarts == 0
    with TinyDB(path) as db:
        assert len(db.table("tasks")) == len(tasks)


def test_a_follower_accepts_a_file_that_appears_vanishes_and_appears_again(path):
    tail = TableTail(path)
    assert tail.read_new() == []
    write(path, 2)
    assert [d["task"] for d in tail.read_new()] == [0, 1]
    path.unlink()
    assert tail.read_new() == []
    assert tail.restarts == 1
    write(path, 1, start=7)
    assert tail.read_new() == [{"task": 7}]
    assert tail.restarts == 1


def test_a_file_replaced_by_a_longer_one_is_read_from_its_start(path):
    write(path, 3)
    tail = TableTail(path)
    tail.read_new()
    other = path.with_name("other")
    write(other, 9, start=50)
    os.replace(other, path)
    assert [d["task"] for d in tail.read_new()] == list(range(50, 59))
    assert tail.restarts == 1


def test_a_file_cut_back_and_extended_past_its_old_end_is_read_from_its_start(path):
    write(path, 6)
    tail = TableTail(path)
    tail.read_new()
    write(path, 9, start=50, keep=2)
    assert [d["task"] for d in tail.read_new()] == [0, 1, *range(50, 59)]
    assert tail.restarts == 1


def test_a_follower_of_an_empty_table_accepts_a_truncated_file(path):
    write(path, 0)
    tail = TableTail(path)
    assert tail.read_new() == []
    os.truncate(path, 3)
    assert tail.read_new() == []


def test_queries_follow_a_growing_file(path):
    write(path, 3)
    table = open_readonly(path).table("tasks")
    assert len(table.search(where("task") >= 1)) == 2
    write(path, 4, start=3)
    assert len(table.search(where("task") >= 1)) == 6
    assert table.get(doc_id=7) == {"task": 6}
    write(path, 0, keep=1)
    assert table.all() == [{"task": 0}]


def test_queries_cannot_change_records(path):
    write(path, 1)
    content = path.read_bytes()
    with pytest.raises(StoreError, match=r"tasks\.json: records are read here, never changed"):
        open_readonly(path).table("tasks").insert({"task": 1})
    assert path.read_bytes() == content


def test_queries_of_a_missing_file_find_nothing(path):
    database = open_readonly(path)
    assert database.tables() == set()
    assert database.table("tasks").all() == []
    assert not path.exists()


@pytest.mark.parametrize("size", [65_535, 65_536, 200_000, 3_000_000])
def test_documents_longer_than_a_block_are_read(path, size):
    documents = [{"task": 0}, {"text": "x" * size}, {"text": "\n" * (size // 2)}]
    with TableWriter(path, "tasks") as writer:
        writer.extend(documents)
    os.truncate(path, path.stat().st_size - 20)
    with TableWriter(path, "tasks") as writer:
        assert writer.num_documents == 2
        writer.append({"task": 2})
    with TableWriter(path, "tasks", keep=1):
        assert read_table(path) == [{"task": 0}]


def test_a_file_that_is_not_a_record_file_of_the_table_is_refused_unchanged(path):
    path.write_bytes(b'{"tasks": {"1": {"task": 0}, "2": {"task"')
    content = path.read_bytes()
    with pytest.raises(
        StoreError, match=r"line 1: not a record file: .*lop doctor --repair keeps its 1 whole document"
    ):
        TableWriter(path, "tasks")
    with pytest.raises(StoreError, match="line 1: not a record file"):
        read_table(path)
    assert path.read_bytes() == content
    path.unlink()
    TableWriter(path, "epochs").close()
    with pytest.raises(StoreError, match='holds table "epochs", expected table "tasks"'):
        TableWriter(path, "tasks")
    path.write_bytes(b'{"tasks": []}')
    with pytest.raises(StoreError, match='line 1: not a record file: table "tasks" is not a JSON object of documents'):
        read_table(path)


def test_fewer_documents_than_the_checkpoint_covers_is_an_error(path):
    write(path, 3)
    with pytest.raises(StoreError, match="holds 3 documents, its checkpoint covers 4"):
        TableWriter(path, "tasks", keep=4)
    assert len(read_table(path)) == 3


def test_a_directory_in_place_of_the_file_is_an_error_that_names_it(path):
    path.mkdir()
    with pytest.raises(StoreError, match=r"tasks\.json: cannot be read: Is a directory"):
        TableTail(path).read_new()
