"""Stop, resume and plot: their questions, actions and messages."""

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from lop_engine import __version__
from lop_engine.launch import ending as stop_module
from lop_engine.runs.directory import RunDir
from lop_tui.dashboard import control
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.dialogs import Question
from tests.dashboard.conftest import FAR_FUTURE, app_showing, first_frame, read, until
from tests.helpers import make_run


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDir]:
    """Make runs: seeds 0 and 1 queued, 2 stopped, 3 finished, 4 running on another host, 5 failed with a checkpoint."""
    states: tuple[Any, ...] = ("queued", "queued", "stopped", "finished", "running", "failed")
    made = [make_run(tmp_path, "cbp", seed, state=state, heartbeat_at=FAR_FUTURE) for seed, state in enumerate(states)]
    made[5].checkpoint.write_bytes(b"")
    return made


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return a list that collects commands instead of running them."""
    called: list[tuple[str, ...]] = []

    async def pretend(*arguments: str) -> tuple[int, str]:
        called.append(arguments)
        return (2, "lop: [no] such metric") if arguments[1] == "nonsense" else (0, "figure: runs/a.png")

    monkeypatch.setattr(control, "run_lop", pretend)
    return called


def here(run_dir: RunDir, pid: int = 0) -> None:
    """Mark a run as trained on this host by process `pid`, by default this process."""
    pid = pid or os.getpid()
    status = run_dir.read_status()
    started_at = psutil.Process(pid).create_time()
    run_dir.write_status(
        replace(status, state="running", host=socket.gethostname(), pid=pid, pid_started_at=started_at)
    )


async def question_after(pilot: Pilot[bool], key: str) -> str:
    """Press `key`, wait for the question and return its text."""
    await first_frame(pilot)
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, Question))
    question = pilot.app.screen
    assert isinstance(question, Question)
    return question.text


def notifications_of(pilot: Pilot[bool]) -> str:
    app = pilot.app
    return "\n".join(notification.message for notification in app._notifications)


async def test_stop_asks_with_the_names_of_runs_and_no_changes_nothing(runs: list[RunDir], tmp_path: Path) -> None:
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        text = await question_after(pilot, "S")
        assert "removed from the queue:\n  cbp: seeds 0-1" in text
        assert "they train on elsewhere; stop them there:\n  cbp: seed 4" in text
        for key in ("n", "escape", "enter"):
            await pilot.press(key)
            await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
            await question_after(pilot, "S")
        await pilot.click("#no")
        assert runs[0].read_status().state == "queued"


@pytest.mark.parametrize("answer", [("y",), ("left", "enter"), ("down", "pagedown", "up", "pageup", "tab", "enter")])
async def test_yes_stops_the_runs(runs: list[RunDir], tmp_path: Path, answer: tuple[str, ...]) -> None:
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        await question_after(pilot, "S")
        await pilot.press(*answer)
        await until(pilot, lambda: "stopped (R resumes):\n  cbp: seeds 0-1" in notifications_of(pilot))
        assert [run.read_status().state for run in runs[:3]] == ["stopped"] * 3


async def test_a_worker_is_signalled_only_if_all_of_its_runs_are_to_stop(
    runs: list[RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_run(tmp_path, "cbp", 9, setting="width=2", state="stopped", heartbeat_at=FAR_FUTURE)
    here(runs[2])
    here(other)
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(stop_module.os, "kill", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(stop_module, "PATIENCE_ELSEWHERE_S", 0.2)
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        text = await question_after(pilot, "S")
        assert "while other runs of the same worker continue:\n  cbp: seed 2" in text
        await pilot.press("y")
        await until(pilot, lambda: runs[2].read_status().state == "stopped")
        assert killed == []
        assert other.read_status().state == "running"


async def test_stopping_without_stoppable_runs_shows_the_reason(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "bp", seed)
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        await first_frame(pilot)
        await pilot.press("S")
        await until(pilot, lambda: "nothing to stop:\n  finished: bp: seeds 0-2" in notifications_of(pilot))
        await pilot.press("R")
        await until(pilot, lambda: "nothing to resume:\n  finished: bp: seeds 0-2" in notifications_of(pilot))


async def test_runs_on_another_host_are_stopped_through_their_status(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", state="running", heartbeat_at=FAR_FUTURE)
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        await first_frame(pilot)
        await pilot.press("S")
        await until(pilot, lambda: "these train on elsewhere" in notifications_of(pilot))


async def test_resume_asks_and_starts_a_detached_command(
    runs: list[RunDir], tmp_path: Path, commands: list[tuple[str, ...]]
) -> None:
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        text = await question_after(pilot, "R")
        assert "1 to resume from a checkpoint:\n  cbp: seed 5" in text
        assert "3 to start over, without a checkpoint:\n  cbp: seeds 0-2" in text
        assert "Left as they are:\n  finished: cbp: seed 3\n  running: cbp: seed 4" in text
        await pilot.press("y")
        await until(pilot, lambda: bool(commands))
        names = [str(runs[seed].path) for seed in (0, 1, 2, 5)]
        assert commands == [("resume", *names, "--runs-dir", str(tmp_path), "--detach")]


async def test_plot_shows_the_path_of_the_figure_or_the_error(
    runs: list[RunDir], tmp_path: Path, commands: list[tuple[str, ...]]
) -> None:
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("p")
        await until(pilot, lambda: "figure: runs/a.png" in notifications_of(pilot))
        assert commands[0][:2] == ("plot", "test_accuracy")
        await control.plot(app, ["nonsense"])
        await until(pilot, lambda: "lop: [no] such metric" in notifications_of(pilot))


async def test_run_lop_returns_the_exit_status_and_the_last_lines_of_the_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await control.run_lop("--version") == (0, f"lop {__version__}")
    assert await control.run_lop("run", "nowhere.json") == (2, "lop: nowhere.json: no such file")
    status, output = await control.run_lop("--help")
    assert status == 0
    assert "Usage" not in output
    assert 1 < len(output.split("\n")) < 20
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OSError, match="No such file"):
        await control.run_lop("--version")


def test_runs_are_named_by_setting_and_range_of_seeds() -> None:
    dirs = [RunDir(Path(f"runs/cbp/default/seed_{seed:03d}")) for seed in (7, 0, 1, 2, 4)]
    dirs.append(RunDir(Path("runs/bp/step_size=0.01/seed_003")))
    assert control.name_runs(dirs) == ["bp step_size=0.01: seed 3", "cbp: seeds 0-2, 4, 7"]


async def test_a_long_question_scrolls_and_keeps_its_buttons(tmp_path: Path) -> None:
    make_run(tmp_path, "bp")
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        assert isinstance(app, Dashboard)
        app.push_screen(Question("Stop runs", "a line\n" * 100, "Stop"))
        await pilot.pause()
        buttons = app.screen.query(Button)
        assert all(0 < button.region.y < 23 for button in buttons)
        assert app.focused is buttons[1]
        await pilot.press("pagedown")
        assert app.screen.query_one("VerticalScroll").scroll_offset.y > 0
