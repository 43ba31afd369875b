"""Supervises the workers of a plan, and shows progress: bars in a terminal, lines elsewhere."""

import os
import signal
import threading
import time
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Protocol, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lop_engine.analysis.eta import study_eta_s
from lop_engine.launch import Launcher, LocalLauncher, Places, Plan
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader, pause_after
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.model import build_rows, have_ended
from lop_tui.dashboard.rows import Row
from lop_tui.words import formats
from lop_tui.words.console import Console, plural, say
from lop_tui.words.formats import time_left

POLL_S = 0.2
REFRESH_S = 0.5
HUNG_UP = 128 + signal.SIGHUP
PLAIN_EVERY_S = 10.0


class Supervisor(threading.Thread):
    """Runs the launcher in a thread, so that the display cannot delay the workers."""

    def __init__(self, launcher: Launcher) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._launcher = launcher
        self._stops_asked = 0
        self._terminal_is_gone = False
        self.error: Exception | None = None

    def take_reports(self) -> list[str]:
        """Return what has happened to workers since the last call."""
        return self._launcher.take_reports()

    @property
    def stopping(self) -> bool:
        return self._stops_asked > 0

    def ask_to_stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """First call: workers save and stop. Second call: they are killed. Also a signal handler."""
        self._stops_asked += 1
        self._terminal_is_gone = self._terminal_is_gone or number == signal.SIGHUP

    def run(self) -> None:
        try:
            obeyed = 0
            while self._launcher.active:
                if self._stops_asked > obeyed:
                    obeyed = self._stops_asked
                    self._launcher.stop(at_once=obeyed > 1)
                self._launcher.poll()
                time.sleep(POLL_S)
        except Exception as error:  # raised when this thread is joined
            self.error = error
            self._launcher.stop()
        if self._terminal_is_gone:
            # A screen without its terminal cannot be restored, and nobody would see a message.
            os._exit(HUNG_UP)


def supervise(
    console: Console, plan: Plan, dirs: Set[RunDir], runs_dir: Path, watch: bool, retries: int, workers: int | None
) -> bool:
    """Train a plan and show the progress of `dirs`; return False if it was stopped.

    Args:
        watch: show the dashboard (of all `runs_dir`) first, if there is a terminal.
        retries: how often a run is given to another worker after its worker died.
        workers: their number from `--workers`; None limits the workers of all commands over `runs_dir`
            together to one per core, and on each GPU to those planned.
    Raises:
        OSError: a worker could not be started; those that run are told to stop.
    """
    places = Places(runs_dir, plan.resources, is_limited=workers is None)
    supervisor = Supervisor(LocalLauncher(plan, retries, places=places))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, supervisor.ask_to_stop)
    supervisor.start()
    try:
        if watch and console.is_terminal:
            _show_dashboard(console, supervisor, runs_dir)
        _show_progress(console, supervisor, dirs, runs_dir, len(plan.resources.devices))
    except BaseException:  # no process is left to supervise the workers
        supervisor.ask_to_stop()
        supervisor.join()
        raise
    finally:
        places.clean()
    if supervisor.error:
        raise supervisor.error
    return not supervisor.stopping


def _show_dashboard(console: Console, supervisor: Supervisor, runs_dir: Path) -> None:
    from lop_tui.dashboard import run_dashboard

    if not run_dashboard(runs_dir, until=lambda view: not supervisor.is_alive()):
        say(console, "dashboard closed; training continues, Ctrl-C stops it")


def _show_progress(
    console: Console, supervisor: Supervisor, dirs: Set[RunDir], runs_dir: Path, num_workers: int
) -> None:
    reader = RunsReader(runs_dir)

    def read() -> Snapshot:
        snapshot = reader.read()
        return replace(snapshot, runs=tuple(view for view in snapshot.runs if view.dir in dirs))

    with open_display(console, num_workers) as display:
        alive = True
        while alive:
            alive = supervisor.is_alive()
            for report in supervisor.take_reports():
                say(console, report, style="red")
            began = time.thread_time()
            display.update(read(), supervisor.stopping)
            supervisor.join(pause_after(time.thread_time() - began, REFRESH_S))


class Display(Protocol):
    """Shows successive snapshots."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *details: object) -> None: ...

    def update(self, snapshot: Snapshot, stopping: bool) -> None: ...


def open_display(console: Console, num_workers: int | None = None) -> Display:
    """Return bars in a terminal, else lines.

    Args:
        num_workers: number of parallel workers, for the estimate of the end; by default those training now.
    """
    return BarDisplay(console, num_workers) if console.is_terminal else LineDisplay(console, num_workers)


class BarDisplay:
    """A live table with a row per method and setting."""

    def __init__(self, console: Console, num_workers: int | None = None) -> None:
        self._live, self._num_workers = Live(console=console, refresh_per_second=4), num_workers

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self, snapshot: Snapshot, stopping: bool) -> None:
        self._live.update(_frame(snapshot, stopping, self._num_workers))


class LineDisplay:
    """Every ten seconds a line for each setting that has changed; settings that only wait share one."""

    def __init__(self, console: Console, num_workers: int | None = None) -> None:
        self._console, self._num_workers = console, num_workers
        self._last_at = 0.0
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None: ...

    def update(self, snapshot: Snapshot, stopping: bool) -> None:
        if time.monotonic() - self._last_at < PLAIN_EVERY_S and not _are_over(snapshot):
            return
        lines = _lines(build_rows(snapshot.runs))
        changed = [line for label, line in lines.items() if self._last.get(label) != line]
        if changed:
            left = time_left(study_eta_s(snapshot.runs, self._num_workers))
            say(self._console, "\n".join([*changed, *([left] if left else [])]))
            self._last_at, self._last = time.monotonic(), lines


def _lines(rows: Sequence[Row]) -> dict[str, str]:
    """Return a line by label for each setting that has started; one for all others under ""."""
    waiting = [row for row in rows if {state for state, _ in row.states} == {"queued"}]
    lines = {row.label: _line(row) for row in rows if row not in waiting}
    if waiting:
        runs = sum(number for row in waiting for _, number in row.states)
        lines[""] = f"{plural(len(waiting), 'setting')} queued ({plural(runs, 'run')})"
    return lines


def _frame(snapshot: Snapshot, stopping: bool, num_workers: int | None) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for row in build_rows(snapshot.runs):
        table.add_row(
            Text(row.label, style=f"bold {row.style.colour}"),
            ProgressBar(total=1.0, completed=row.progress, width=24),
            f"{row.tasks} tasks",
            _value(row),
            formats.rate(row.tasks_per_min) if row.tasks_per_min else "",
            f"{formats.duration(row.eta_s)} left" if row.eta_s is not None else "",
            _states(row),
        )
    if _are_over(snapshot):
        return table
    hint = "stopping: the workers save what they have; Ctrl-C again kills them" if stopping else "Ctrl-C stops"
    left = time_left(study_eta_s(snapshot.runs, num_workers))
    return Group(table, Text("; ".join(filter(None, (left, hint))), style="dim"))


def _line(row: Row) -> str:
    parts = [
        row.label,
        f"{row.tasks} tasks",
        f"{row.measure.title} {_value(row)}" if row.value else "",
        formats.rate(row.tasks_per_min) if row.tasks_per_min else "",
        f"{formats.duration(row.eta_s)} left" if row.eta_s is not None else "",
        _states(row),
    ]
    return "  ".join(part for part in parts if part)


def _are_over(snapshot: Snapshot) -> bool:
    return bool(snapshot.runs) and have_ended(snapshot.runs)


def _value(row: Row) -> str:
    """Return the headline metric with its unit; "" if missing."""
    return f"{row.value} {row.measure.unit}".rstrip() if row.value else ""


def _states(row: Row) -> str:
    return ", ".join(f"{number} {state}" for state, number in row.states)
