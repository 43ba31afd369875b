"""The log of a run: its end, new lines, search, and the error above it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Static

from lop_engine.runs.directory import RunDir
from lop_engine.runs.logs import LogTail, clean, start_of_last
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.reader import SnapshotFetched
from lop_tui.dashboard.settings import Settings
from lop_tui.dashboard.views.log import screen as log_module
from lop_tui.dashboard.views.log.log_view import wrap
from lop_tui.dashboard.views.log.screen import LogScreen
from tests.dashboard.conftest import FAR_FUTURE, app_showing, first_frame, read, until
from tests.helpers import make_run

ERROR = 'Traceback (most recent call last):\n  File "net.py", line 3\nRuntimeError: out of memory'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "POLL_S", 0.05)


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDir]:
    """Make a running run with a long log, a failed one with a short log, and a queued one without a log."""
    states: tuple[Any, ...] = ("running", "failed", "queued")
    made = [
        make_run(tmp_path, "cbp", seed, state=state, error=ERROR if seed == 1 else None, heartbeat_at=FAR_FUTURE)
        for seed, state in enumerate(states)
    ]
    made[0].log.write_text("".join(f"task {task} done\n" for task in range(100)))
    made[1].log.write_text("starting\n")
    return made


async def opened(pilot: Pilot[bool]) -> LogScreen:
    app = await first_frame(pilot)
    await pilot.press("l")
    screen = app.screen
    assert isinstance(screen, LogScreen)
    await until(pilot, lambda: "reading" not in text_of(screen))
    return screen


def text_of(screen: LogScreen) -> str:
    view = screen.log_view
    return "\n".join(view.render_line(y).text.rstrip() for y in range(view.size.height)).strip()


def head(screen: LogScreen) -> str:
    return " ".join(str(screen.query_one(name, Static).render()) for name in ("#log-name", "#log-mode"))


async def test_the_log_follows_until_scrolled_up_and_again_at_the_end(runs: list[RunDir], tmp_path: Path) -> None:
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert text_of(screen).endswith("task 99 done")
        assert "cbp/default/seed_000  running following" in head(screen)
        append(runs[0], "one more\n")
        await until(pilot, lambda: text_of(screen).endswith("one more"))
        await pilot.press("up", "pageup")
        before = text_of(screen)
        assert "End: follow" in head(screen)
        append(runs[0], "and another\n")
        await pilot.pause(0.1)
        assert text_of(screen) == before
        await pilot.press("end")
        assert text_of(screen).endswith("and another")
        await pilot.press("f", "home", "down", "pagedown")
        assert not screen.log_view.following
        await pilot.press("f")
        assert screen.log_view.following


async def test_search_marks_and_counts_matches_and_wraps_around(runs: list[RunDir], tmp_path: Path) -> None:
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert screen.check_action("match", (1,)) is False
        await pilot.press("home", "slash", *"TASK 5", "enter")
        assert screen.log_view.found == (1, 11)
        assert "task 5 done" in text_of(screen)
        await pilot.press("n")
        assert "2/11" in head(screen)
        assert "task 50 done" in text_of(screen)
        await pilot.press("N", "N")
        assert screen.log_view.found == (11, 11)
        assert "task 59 done" in text_of(screen)
        await pilot.press("n")
        assert screen.log_view.found == (1, 11)
        await pilot.press("escape")
        assert screen.log_view.found == (0, 0)
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, LogScreen)


async def test_a_failed_run_begins_with_its_whole_error(runs: list[RunDir], tmp_path: Path) -> None:
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: text_of(screen).endswith("starting"))
        assert text_of(screen).startswith(ERROR)
        assert "seed_001/worker.log" in text_of(screen).replace("\n  ", "")
        assert screen.selected() == (screen.run,)
        assert screen.run.seed == 1
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "No log yet" in text_of(screen))
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until(pilot, lambda: text_of(screen).endswith("task 99 done"))


async def test_the_screen_survives_a_vanished_run_and_shows_the_log_of_a_new_worker(
    runs: list[RunDir], tmp_path: Path
) -> None:
    snapshot = read(tmp_path)
    async with app_showing(snapshot).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        first, *others = snapshot.runs
        moved = replace(first, status=replace(first.status, stack=[1, 0]))
        show(pilot, replace(snapshot, runs=(moved, *others)))
        await until(pilot, lambda: text_of(screen).endswith("starting"))
        show(pilot, replace(snapshot, runs=tuple(others)))
        await until(pilot, lambda: "not shown any more" in head(screen))
        await pilot.press("l")
        assert not isinstance(pilot.app.screen, LogScreen)


async def test_pause_stops_the_log_and_ascii_markers_give_ascii(runs: list[RunDir], tmp_path: Path) -> None:
    runs[0].log.write_text("größer als \u4e2d\n")
    async with app_showing(read(tmp_path), settings=Settings(markers="ascii")).run_test(size=(40, 24)) as pilot:
        screen = await opened(pilot)
        assert "gr??er als ?" in text_of(screen)
        assert text_of(screen).isascii()
        await pilot.press("space")
        append(runs[0], "later\n")
        await pilot.pause(0.1)
        assert "later" not in text_of(screen)
        await pilot.press("space")
        await until(pilot, lambda: "later" in text_of(screen))


async def test_older_text_is_loaded_on_demand_without_moving_the_view(
    runs: list[RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "LogTail", lambda path: LogTail(path, reach_bytes=500))
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("home")
        assert "its end" in text_of(screen)
        await pilot.press("down", "down", "down")
        top = text_of(screen).split("\n")[0]
        await pilot.press("o")
        await until(pilot, lambda: screen.log_view.max_scroll_y > 40)
        assert text_of(screen).split("\n")[0] == top
        await pilot.press("home", "home", "home", "home")
        await until(pilot, lambda: "task 0 done" in text_of(screen))


def test_a_truncated_replaced_removed_or_unreadable_log_is_read_again(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    tail = LogTail(log)
    assert "No log yet" in tail.read().remark
    log.write_text("")
    assert tail.read().remark == "The log is empty so far."
    log.write_text("one\ntwo\nthr")
    assert tail.read().lines == ("one", "two", "thr")
    assert tail.read() is tail.read()
    log.write_text("one\ntwo\nthree\n")
    assert tail.read().lines == ("one", "two", "three")
    log.write_text("new\n")
    assert tail.read().lines == ("new",)
    log.write_text("another that is longer\n")
    assert tail.read().lines == ("another that is longer",)
    log.unlink()
    assert tail.read().remark == "The log was removed."
    log.mkdir()
    assert tail.read().remark == f"{log}: cannot be read: Is a directory"
    log.rmdir()
    log.write_bytes(b"caf\xe9 \x1b[31mred\x1b[0m\x00\n10%\r20%\r\n\x1b]0;title\x07end\n")
    assert tail.read().lines == ("caf\ufffd red", "20%", "end")


def test_line_numbers_are_stable_and_memory_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("".join(f"{line:03d}\n" for line in range(100)))
    tail = LogTail(log, reach_bytes=40, most_lines=25)
    text = tail.read()
    assert (text.lines[0], text.first, text.has_older) == ("090", 0, True)
    text = tail.read_older()
    assert (text.lines[0], text.first, len(text.lines)) == ("080", -10, 20)
    with log.open("a") as file:
        file.write("100\n101\n102\n103\n104\n105\n106")
    text = tail.read()
    assert (text.lines[0], text.first) == ("081", -9)
    assert text.lines[-1] == "106"
    assert tail.read_older() is text, "it is full"
    with log.open("a") as file:
        file.write("x" * 1000)
    assert "".join(tail.read().lines) == "x" * 40, "only the end of a large append is read"
    assert len(clean("y" * 10_000)) < 5_000


@pytest.mark.parametrize("content", ["", "a\n", "a\nb", "a\n\nb\n", "long " * 30_000 + "\nend\n"])
def test_the_last_lines_begin_at_a_line_start(tmp_path: Path, content: str) -> None:
    log = tmp_path / "worker.log"
    log.write_text(content)
    whole = content.splitlines(keepends=True)
    for lines in (1, 2, 50):
        assert content[start_of_last(log, lines) :] == "".join(whole[-lines:])


@pytest.mark.parametrize("width", [10, 30, 200])
@pytest.mark.parametrize("line", ["", "word " * 30, "w" * 70, "中文" * 20, "a 中文字 b " * 9])
def test_wrapped_lines_fit_and_lose_only_spaces(line: str, width: int) -> None:
    rows = wrap(0, line, width)
    assert "".join(row.text for row in rows).replace(" ", "") == line.replace(" ", "")
    assert all(line.startswith(row.text, row.start) for row in rows)
    assert all(cell_len((row.indent + row.text).rstrip()) <= width for row in rows)


def append(run_dir: RunDir, text: str) -> None:
    with open(run_dir.log, "a") as file:
        file.write(text)
        os.utime(run_dir.log)


def show(pilot: Pilot[bool], snapshot: Snapshot) -> None:
    app = pilot.app
    assert isinstance(app, Dashboard)
    app.post_message(SnapshotFetched(build_view(snapshot)))
