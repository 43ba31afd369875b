"""`lop plot`: from runs to a figure."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lop_engine.analysis import Group, group_runs
from lop_engine.errors import UserError, did_you_mean
from lop_engine.query import filter_runs
from lop_engine.records import ALL_METRICS, METRICS
from lop_engine.runs import RunsReader
from lop_tui.commands.console import say


@dataclass(frozen=True)
class Request:
    """What a person asked to see."""

    runs_dir: Path
    metrics: Sequence[str]
    """``all`` for the seven."""
    output: Path | None
    bin_size: int | None
    title: str
    where: str
    tasks: str
    log: bool | None


def plot_runs(request: Request) -> int:
    """Draw the metrics and say where the figure is. Raises UserError."""
    metrics = _metrics(request.metrics)
    tasks = _tasks(request.tasks)
    path = request.output or request.runs_dir / f"{'_'.join(metrics) if len(metrics) < 3 else 'metrics'}.png"

    from lop_tui import figures  # matplotlib takes its time

    if path.suffix.lower() not in figures.FORMATS:
        raise UserError(f"plot: {path}: choose one of {', '.join(figures.FORMATS)}")
    groups = _groups(request.runs_dir, request.where)
    look = figures.Look(request.bin_size, tasks, request.log)
    drawable = [group for group in groups if any(len(look.curve(group, metric).task) for metric in metrics)]
    if not drawable and request.tasks:
        raise UserError(f"plot: --tasks {request.tasks}: no whole bin has its middle there; name more tasks")
    if not drawable:
        raise UserError(
            f"plot: no run in {request.runs_dir} has finished enough tasks for one bin yet; try a smaller --bin"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(figures.draw(drawable, metrics, look, request.title), path)
    console = Console()
    for group in groups:
        if group not in drawable:
            say(
                console,
                f"left out: {group.label}, which has no whole bin {'among these tasks' if request.tasks else 'yet'}",
            )
    say(console, f"figure: {path}")
    return 0


def _metrics(names: Sequence[str]) -> list[str]:
    metrics = list(METRICS) if list(names) == ["all"] else list(dict.fromkeys(names))
    for metric in metrics:
        if metric not in ALL_METRICS:
            known = ", ".join(ALL_METRICS)
            raise UserError(f'plot: no metric "{metric}"{did_you_mean(metric, ALL_METRICS)} (there are {known})')
    return metrics


def _groups(runs_dir: Path, where: str) -> list[Group]:
    runs = RunsReader(runs_dir).read().runs
    if not runs:
        raise UserError(f"plot: no runs in {runs_dir}; start some with lop run CFG, or name another --runs-dir")
    chosen = filter_runs(runs, where)
    if not chosen:
        raise UserError(f'plot: --where "{where}": matches none of the {len(runs)} runs in {runs_dir}')
    return group_runs(chosen)


def _tasks(text: str) -> tuple[float, float]:
    """The first and last task of ``A-B``, ``A-`` or ``-B``; all where nothing is said."""
    match = re.fullmatch(r"([0-9]{0,9})-([0-9]{0,9})", text or "-")
    if not match or text == "-":
        raise UserError(
            f'plot: --tasks "{text}": write the first and last task, 1000-2000, or one of them, 1000- or -2000'
        )
    first, last = int(match[1] or 1), int(match[2] or 0) or math.inf
    if not 1 <= first <= last:
        raise UserError(f'plot: --tasks "{text}": should run from a task of 1 or more to a later one')
    return first, last
