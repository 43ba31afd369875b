"""Appends that are read half way, or cut off at any byte by a crash."""

import errno
import os

import pytest
from tinydb import TinyDB

from lop_engine.errors import StoreError
from lop_engine.runs.store import TableTail, TableWriter, read_table

FIRST_DOCUMENTS = [{"task": 0, "classes": [3, 4]}, {"task": 1, "nested": {"a": {"b": {}}}}]
NEW = [{"task": 2, "text": 'a "quote",\n}}\n'}, {"task": 3, "nested": {"a": {}}}, {"task": 4}]


@pytest.fixture(params=[0, 1, 2], ids=["first", "second", "third"])
def held(request):
    return FIRST_DOCUMENTS[: request.param]


@pytest.fixture(params=[1, 3], ids=["append", "extend"])
def new(request):
    return NEW[: request.param]


@pytest.fixture
def path(tmp_path, held):
    path = tmp_path / "tasks.json"
    with TableWriter(path, "tasks") as writer:
        writer.extend(held)
    return path


@pytest.fixture
def before(path):
    return path.read_bytes()


@pytest.fixture
def after(path, before, new):
    with TableWriter(path, "tasks") as writer:
        writer.extend(new)
    content = path.read_bytes()
    path.write_bytes(before)
    return content


def test_a_reader_during_an_append_sees_the_old_documents_or_complete_new_ones(path, held, new, before, after):
    start = len(before) - len(b"\n}}\n")
    for split in range(start, len(after) + 1):
        path.write_bytes(before)
        follower = TableTail(path)
        assert follower.read_new() == held

        path.write_bytes(after[:split] + before[split:])
        num_whole = max(len(held), min(len(held + new), after[:split].count(b"\n") - 1))
        assert read_table(path) == (held + new)[:num_whole], split
        first = follower.read_new()
        assert held + first == (held + new)[:num_whole], split
        path.write_bytes(after)
        assert held + first + follower.read_new() == held + new
        assert follower.restarts == 0


def test_a_writer_continues_after_any_torn_append(path, held, new, before, after):
    start = len(before) - len(b"\n}}\n")
    for split in range(start, len(after) + 1):
        path.write_bytes(after[:split] + before[split:])
        with TableWriter(path, "tasks") as writer:
            assert writer.num_documents >= len(held)
            writer.append({"task": "next"})
        documents = read_table(path)
        assert documents == [*(held + new)[: len(documents) - 1], {"task": "next"}]
        with TinyDB(path) as db:
            assert db.table("tasks").all() == documents


def test_the_documents_of_a_checkpoint_survive_an_append_whose_end_reached_the_disk_first(path, held, before, after):
    for split in range(len(before) - len(b"\n}}\n"), len(after)):
        path.write_bytes(before[:split].ljust(split, b"\0") + after[split:])
        with TableWriter(path, "tasks", keep=len(held)):
            assert read_table(path) == held


def test_a_file_truncated_in_its_first_line_is_an_empty_table(tmp_path):
    path = tmp_path / "tasks.json"
    follower = TableTail(path)
    for length in range(len(b'{"tasks": {\n')):
        path.write_bytes(b'{"tasks": {\n}}\n'[:length])
        assert read_table(path) == []
        assert follower.read_new() == []
        with TableWriter(path, "tasks", keep=0) as writer:
            writer.append({"task": 0})
        assert follower.read_new() == read_table(path) == [{"task": 0}]
        with TinyDB(path) as db:
            assert len(db.table("tasks")) == 1


@pytest.mark.parametrize("num_bytes", [0, 1, 3, 20, 49])
def test_a_failed_append_leaves_the_file_unchanged(path, before, held, monkeypatch, num_bytes):
    pwrite = os.pwrite

    def full_disk(fd, content, offset):
        monkeypatch.setattr(os, "pwrite", refuse)
        return pwrite(fd, content[:num_bytes], offset)

    def refuse(fd, content, offset):
        monkeypatch.setattr(os, "pwrite", pwrite)
        raise OSError(errno.ENOSPC, "No space left on device")

    with TableWriter(path, "tasks") as writer:
        monkeypatch.setattr(os, "pwrite", full_disk)
        with pytest.raises(OSError, match="No space left"):
            writer.extend([{"text": "x" * 20}, {"text": "y" * 20}])
        assert path.read_bytes() == before
        assert writer.append({"task": "next"}) == len(held) + 1
    assert read_table(path) == [*held, {"task": "next"}]


def test_a_document_that_is_not_valid_json_leaves_the_file_unchanged(path, before):
    with TableWriter(path, "tasks") as writer:
        with pytest.raises(TypeError):
            writer.extend([{"task": 5}, {"task": object()}])
        assert path.read_bytes() == before


def test_a_crash_while_cutting_back_keeps_the_remaining_documents(tmp_path, monkeypatch):
    path = tmp_path / "tasks.json"
    with TableWriter(path, "tasks") as writer:
        writer.extend({"task": task} for task in range(9))

    def die(fd, content, offset):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "pwrite", die)
    with pytest.raises(KeyboardInterrupt):
        TableWriter(path, "tasks", keep=4)
    monkeypatch.undo()
    assert len(read_table(path)) <= 4
    with TableWriter(path, "tasks", keep=4):
        assert read_table(path) == [{"task": task} for task in range(4)]


@pytest.mark.parametrize(
    ("line", "text"),
    [(2, b'"1": {"task":'), (2, b""), (4, b'"7": {"task":2},'), (3, b'"2": {"task":1}}'), (3, b"\xff\xff")],
)
def test_damage_before_the_end_is_an_error_that_names_file_and_line(tmp_path, line, text):
    path = tmp_path / "tasks.json"
    with TableWriter(path, "tasks") as writer:
        writer.extend({"task": task} for task in range(5))
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = text
    path.write_bytes(b"\n".join(lines))
    tail = TableTail(path)
    for _ in range(2):
        with pytest.raises(StoreError) as error:
            tail.read_new()
        assert str(error.value).startswith(f"{path}: line {line}: ")
        assert "\n" not in str(error.value)
