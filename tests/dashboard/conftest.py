"""Snapshots of runs, and an app that shows them without reading a disk or waiting for a clock."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from lop_engine.experiment import lookup
from lop_engine.machine.usage import Usage
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView, Snapshot
from lop_tui.dashboard import reader
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.views.overview.charts import ChartGrid
from tests.helpers import make_run
from tests.toys import STREAM, make_toy

NEVER_S = 3600.0
FAR_FUTURE = 4e9
"""A heartbeat that no clock finds overdue."""


class Idle:
    """A machine with constant load."""

    def read(self, pids: object) -> Usage:
        return Usage(0.5, 3 * 2**30, 16 * 2**30, 2, 1.9, 700 * 2**20)


@pytest.fixture(autouse=True)
def _idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "UsageReader", Idle)


@pytest.fixture
def eleven_runs(tmp_path: Path) -> Snapshot:
    """Four settings with eleven runs; bp has two finished seeds, l2 a failed one."""
    for method, num_seeds in (("bp", 3), ("cbp", 3), ("l2", 3)):
        for seed in range(num_seeds):
            finished = method == "bp" and seed < 2
            make_run(
                tmp_path,
                method,
                seed,
                num_tasks=120,
                tasks_done=120 if finished else 20 if (method, seed) == ("l2", 2) else 84,
                state="finished" if finished else "failed" if (method, seed) == ("l2", 2) else "running",
                error="Traceback (most recent call last):\nRuntimeError: out of memory" if method == "l2" else None,
                heartbeat_at=FAR_FUTURE,
            )
    for seed in range(2):
        make_run(tmp_path, "snp", seed, setting="step_size=0.001", num_tasks=120, state="queued", tasks_done=0)
    return read(tmp_path)


def read(path: Path) -> Snapshot:
    """Read the runs under `path`, as if the directory was called ``runs``."""
    return replace(RunsReader(path).read(), runs_dir=Path("runs"))


def unreadable(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with its first run damaged."""
    first = replace(snapshot.runs[0], state="failed", series={}, problem="tasks.json: document 3 is damaged")
    return replace(snapshot, runs=(first, *snapshot.runs[1:]))


def waiting(num_seeds: int = 2) -> Snapshot:
    """Return runs that have not finished a task."""
    status = RunStatus(state="running", num_tasks=50, num_epochs=10, epochs_done=3)
    spec = {"num_tasks": 50}
    dirs = [RunDir(Path(f"runs/cbp/default/seed_{seed:03d}")) for seed in range(num_seeds)]
    return Snapshot(Path("runs"), tuple(RunView(run_dir, spec, status, "running", {}) for run_dir in dirs))


def ended(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with all runs finished."""
    runs = tuple(replace(run, state="finished", status=replace(run.status, error=None)) for run in snapshot.runs)
    return replace(snapshot, runs=runs)


def app_showing(snapshot: Snapshot, **options: Any) -> Dashboard:
    """Return an app that reads `snapshot` once; tests post further frames."""
    return Dashboard(lambda: snapshot, refresh_s=NEVER_S, **options)


async def until(pilot: Pilot[bool], condition: Callable[[], bool]) -> None:
    """Wait for a condition that a thread or a timer fulfils."""
    patience = time.monotonic() + 30
    while time.monotonic() < patience:
        if condition():
            await pilot.pause()
            return
        await pilot.pause(0.01)
    raise AssertionError("it never came")


async def first_frame(pilot: Pilot[bool]) -> Dashboard:
    """Wait for the first frame."""
    app = pilot.app
    assert isinstance(app, Dashboard)
    await until(pilot, lambda: app.view is not None)
    return app


async def settled(pilot: Pilot[bool]) -> None:
    """Wait for the frame that was requested last, and for its charts."""
    app = await first_frame(pilot)
    await until(pilot, lambda: app.view is not None and app.view.request == app.wants)
    for line in app.screen.query(Input):
        line.cursor_blink = False
    for grid in (grid for screen in app.screen_stack for grid in screen.query(ChartGrid)):  # a dialog covers the charts
        await until(pilot, lambda grid=grid: not grid.waiting)  # type: ignore[misc]
    await pilot.pause()


def screen_text(app: Dashboard) -> str:
    """Return the text of the screen, line by line."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def pressing(*keys: str) -> Callable[[Pilot[bool]], Awaitable[None]]:
    """Return a function for `snap_compare` that waits for the first frame, then presses keys."""

    async def run(pilot: Pilot[bool]) -> None:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)

    return run


@pytest.fixture(autouse=True)
def _forget_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "from_run_json", {kind: {} for kind in lookup.from_run_json})


@pytest.fixture
def three_problems(tmp_path: Path) -> Snapshot:
    """Make four runs of Continual ImageNet, three of a regression, and one of a stream."""
    for seed in range(2):
        make_run(tmp_path, "bp", seed)
        make_run(tmp_path, "cbp", seed)
    for seed in range(3):
        make_toy(tmp_path, "fast", seed)
    make_toy(tmp_path, "stream", components=STREAM)
    return read(tmp_path)
