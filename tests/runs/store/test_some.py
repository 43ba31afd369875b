"""Reading some documents of a record file and its last one gives the same as reading all, or nothing."""

from pathlib import Path

import pytest

from lop_engine.runs.store import TableWriter, read_some, read_table

NUM_TASKS = 400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.json"
    with TableWriter(path, "tasks") as table:
        table.extend([{"task": task, "accuracy": task / 7 if task % 3 else None} for task in range(NUM_TASKS)])
    return path


def replace_in(path: Path, task: int, new: str) -> None:
    """Overwrite the document of a task with one of equal length."""
    lines = path.read_text().split("\n")
    lines[task + 1] = new.ljust(len(lines[task + 1]))
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("chosen_tasks", [range(360, 400), range(320, 360), range(40), range(399), range(398, 399)])
def test_chosen_documents_and_the_last_one_are_read(path: Path, chosen_tasks: range) -> None:
    documents = read_table(path)
    some, last = read_some(path, chosen_tasks)
    stop = min(chosen_tasks.stop, NUM_TASKS - 1)
    assert some == (chosen_tasks.start, documents[chosen_tasks.start : stop])
    assert last == (NUM_TASKS - 1, documents[-1:])


@pytest.mark.parametrize("chosen_tasks", [range(400, 440), range(399, 400), range(0), range(5, 5)])
def test_missing_documents_give_nothing(path: Path, chosen_tasks: range) -> None:
    assert read_some(path, chosen_tasks) == []


@pytest.mark.parametrize("task", [320, 340, 359])
@pytest.mark.parametrize("damage", ["###", '"9": {"task":8},', ""])
def test_damage_at_a_chosen_document_gives_nothing(path: Path, task: int, damage: str) -> None:
    replace_in(path, task, damage)
    assert read_some(path, range(320, 360)) == []


def test_a_file_in_the_middle_of_an_append_gives_nothing(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4] + b',\n"401": {"task":400,"sec')
    assert read_some(path, range(320, 360)) == []


def test_a_file_with_missing_lines_gives_nothing(path: Path) -> None:
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:331], *lines[332:]]))
    assert read_some(path, range(320, 360)) == []


def test_another_layout_gives_nothing(path: Path) -> None:
    path.write_text(path.read_text().replace("\n", ""))
    assert read_some(path, range(320, 360)) == []
    assert read_some(path.with_name("missing.json"), range(1)) == []
