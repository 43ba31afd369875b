"""Record files of many runs, of which only a few are open at once."""

import errno
import os

import pytest

from lop_engine.errors import StoreError
from lop_engine.runs.store import TableWriter, read_table
from lop_engine.runs.store import writer as open_files


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Make ten record files, three of which may be open."""
    monkeypatch.setattr(open_files, "MOST_OPEN", 3)
    before = num_open()
    tables = [TableWriter(tmp_path / f"{number}.json", "tasks") for number in range(10)]
    assert num_open() - before <= 3
    yield tables
    for table in tables:
        table.close()


def num_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_files_are_open_and_each_gets_its_own_documents(tables):
    before = num_open()
    for task in range(5):
        for number, table in enumerate(tables):
            table.append({"task": task, "number": number})
    assert num_open() <= before
    for number, table in enumerate(tables):
        assert read_table(table.path) == [{"task": task, "number": number} for task in range(5)]
        assert table.last() == {"task": 4, "number": number}
        table.sync()


def test_the_limit_of_the_system_is_respected(tables, monkeypatch):
    monkeypatch.setattr(open_files, "open_files_limit", lambda: 8)
    before = num_open()
    for table in tables:
        table.append({"task": 0})
    assert num_open() == before - 1  # a quarter


def test_a_file_that_another_program_replaced_is_not_written(tables):
    tables[0].append({"task": 0})
    for table in tables[1:]:
        table.append({"task": 0})
    other = tables[0].path.with_name("other")
    other.write_bytes(tables[0].path.read_bytes())
    os.replace(other, tables[0].path)
    content = tables[0].path.read_bytes()
    with pytest.raises(StoreError, match=r"0\.json: was replaced by another program"):
        tables[0].append({"task": 1})
    assert tables[0].path.read_bytes() == content


def test_an_error_on_closing_a_file_is_raised_with_that_file_s_name(tables, monkeypatch):
    tables[0].append({"task": 0})
    closed = os.close

    def refuse_once(fd):
        closed(fd)
        monkeypatch.setattr(os, "close", closed)
        raise OSError(errno.EDQUOT, "quota exceeded")

    tables[1].append({"task": 0})
    tables[2].append({"task": 0})
    monkeypatch.setattr(os, "close", refuse_once)
    tables[3].append({"task": 0})  # closes the first
    with pytest.raises(OSError, match="quota exceeded") as refused:
        tables[0].append({"task": 1})
    assert refused.value.filename == str(tables[0].path)
