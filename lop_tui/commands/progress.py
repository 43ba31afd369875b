"""What `lop run` shows while it trains: bars in a terminal, plain lines elsewhere."""

import time
from typing import Protocol, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.model import build_rows, have_ended
from lop_tui.dashboard.rows import Row
from lop_tui.words import formats
from lop_tui.words.console import Console, say

PLAIN_EVERY_S = 10.0


class Display(Protocol):
    """Shows a snapshot after another."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *details: object) -> None: ...

    def update(self, snapshot: Snapshot, stopping: bool) -> None: ...


def open_display(console: Console) -> Display:
    """Bars where there is a terminal, lines where there is none."""
    return BarDisplay(console) if console.is_terminal else LineDisplay(console)


class BarDisplay:
    """A live table, a row a method and setting."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self, snapshot: Snapshot, stopping: bool) -> None:
        self._live.update(_frame(snapshot, stopping))


class LineDisplay:
    """A line a method and setting every ten seconds, when something has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_at = 0.0
        self._last: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None: ...

    def update(self, snapshot: Snapshot, stopping: bool) -> None:
        if time.monotonic() - self._last_at < PLAIN_EVERY_S and not _are_over(snapshot):
            return
        lines = tuple(_line(row) for row in build_rows(snapshot.runs))
        if lines != self._last:
            say(self._console, "\n".join(lines))
            self._last_at, self._last = time.monotonic(), lines


def _frame(snapshot: Snapshot, stopping: bool) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for row in build_rows(snapshot.runs):
        table.add_row(
            Text(row.label, style=f"bold {row.style.colour}"),
            ProgressBar(total=1.0, completed=row.progress, width=24),
            f"{formats.count(row.tasks_done)}/{formats.count(row.tasks_total)} tasks{_of_seeds(row)}",
            _value(row),
            formats.rate(row.tasks_per_min) if row.tasks_per_min else "",
            f"{formats.duration(row.eta_s)} left" if row.eta_s is not None else "",
            _states(row),
        )
    if _are_over(snapshot):
        return table
    hint = "stopping: the workers save what they have; Ctrl-C again kills them" if stopping else "Ctrl-C stops"
    return Group(table, Text(hint, style="dim"))


def _line(row: Row) -> str:
    parts = [
        row.label,
        f"{row.tasks_done}/{row.tasks_total} tasks{_of_seeds(row)}",
        f"{row.measure.title} {_value(row)}" if row.value else "",
        formats.rate(row.tasks_per_min) if row.tasks_per_min else "",
        f"{formats.duration(row.eta_s)} left" if row.eta_s is not None else "",
        _states(row),
    ]
    return "  ".join(part for part in parts if part)


def _of_seeds(row: Row) -> str:
    """Whose tasks these are, if they are of several seeds: 300 tasks may be two seeds of 150."""
    seeds = sum(number for _, number in row.states)
    return f" of {seeds} seeds" if seeds > 1 else ""


def _are_over(snapshot: Snapshot) -> bool:
    return bool(snapshot.runs) and have_ended(snapshot.runs)


def _value(row: Row) -> str:
    """The headline metric with its unit; empty if there is none yet."""
    return f"{row.value} {row.measure.unit}".rstrip() if row.value else ""


def _states(row: Row) -> str:
    return ", ".join(f"{number} {state}" for state, number in row.states)
