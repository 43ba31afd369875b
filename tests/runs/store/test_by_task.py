"""Reading the epochs of one task from a long file."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.errors import StoreError
from lop_engine.runs.store import TableWriter, read_table, read_task, tail_task


@pytest.fixture
def path(tmp_path):
    return tmp_path / "epochs.json"


def write(path, tasks, num_epochs=3, text="", **kwargs):
    with TableWriter(path, "epochs", **kwargs) as writer:
        writer.extend({"task": task, "epoch": epoch, "text": text} for task in tasks for epoch in range(num_epochs))


def epochs(path, task):
    return [one["epoch"] for one in read_task(path, task)]


def test_a_missing_or_empty_file_has_no_epochs(path):
    for content in (None, b"", b'{"epo', b'{"epochs": {', b'{"epochs": {\n', b'{"epochs": {\n}}\n'):
        if content is not None:
            path.write_bytes(content)
        assert (read_task(path, 0), tail_task(path)) == ([], None)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(0, 3000)), max_size=30))
def test_reading_one_task_gives_the_same_as_reading_all(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("table") / "epochs.json"
    last = 0
    with TableWriter(path, "epochs") as writer:
        for step, num_epochs, width in steps:
            last += step
            writer.extend({"task": last, "epoch": epoch, "text": "x" * width} for epoch in range(num_epochs % 40))
    everything = read_table(path)
    for task in range(-1, last + 2):
        assert read_task(path, task) == [one for one in everything if one["task"] == task]
    assert tail_task(path) == (everything[-1]["task"] if everything else None)


def test_a_long_file_is_read_with_few_small_reads(path, monkeypatch):
    write(path, range(2000), num_epochs=10, text="x" * 150)
    read, pread = [], os.pread

    def counting(fd, num_bytes, offset):
        read.append(len(pread(fd, num_bytes, offset)))
        return pread(fd, num_bytes, offset)

    monkeypatch.setattr(os, "pread", counting)
    assert epochs(path, 1234) == list(range(10))
    assert sum(read) < path.stat().st_size / 2
    assert len(read) < 30
    read.clear()
    assert tail_task(path) == 1999
    assert sum(read) < 70_000


def test_a_torn_last_line_is_ignored(path):
    write(path, range(3))
    whole = path.read_bytes()
    for length in range(len(whole) - 60, len(whole)):
        path.write_bytes(whole[:length])
        num_whole = len(read_table(path))
        assert epochs(path, 2) == list(range(num_whole - 6))
        assert tail_task(path) == (2 if num_whole > 6 else 1)


def test_only_the_remaining_epochs_of_a_file_cut_back_are_read(path):
    write(path, range(1000))
    write(path, [200, 201], keep=600)
    assert epochs(path, 199) == [0, 1, 2]
    assert epochs(path, 200) == [0, 1, 2]
    assert epochs(path, 700) == []
    assert tail_task(path) == 201


def test_a_file_that_shrinks_during_reading_gives_its_remaining_epochs(path, monkeypatch):
    write(path, range(1000), text="x" * 100)
    size = path.stat().st_size
    fstat = os.fstat

    def as_it_was(fd):
        status = fstat(fd)
        monkeypatch.setattr(os, "fstat", fstat)
        os.truncate(path, size // 2)
        return status

    monkeypatch.setattr(os, "fstat", as_it_was)
    assert epochs(path, 900) == []
    assert epochs(path, 300) == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"_default": {"1": {}}}\n', "line 1: not a record file"),
        (b"x" * 5000, "line 1: not a record file"),
        (b'{"epochs": {\n"1": {"epoch":0}\n}}\n', "a document has no task number"),
        (b'{"epochs": {\n"1": {"task":"0"}\n}}\n', "a document has no task number"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_a_file_that_is_not_a_record_file_is_named(path, content, complaint):
    path.mkdir() if content is None else path.write_bytes(content)
    for read in (tail_task, lambda path: read_task(path, 0)):
        with pytest.raises(StoreError, match=complaint) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


def test_damage_among_the_documents_of_a_task_is_an_error_that_names_the_line(path):
    write(path, range(3))
    path.write_bytes(path.read_bytes().replace(b'"5": {"task":1', b'"5": \0"task":1'))
    with pytest.raises(StoreError, match=r"epochs\.json: line 6: document 6 where 5 is due"):
        read_task(path, 1)
    assert tail_task(path) == 2
