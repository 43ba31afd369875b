"""`lop plot`: from runs to a figure."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lop_engine.analysis import group_runs
from lop_engine.errors import UserError, did_you_mean
from lop_engine.records import ALL_METRICS, METRICS
from lop_engine.runs import RunsReader
from lop_tui.commands.console import say


def plot_runs(runs_dir: Path, metrics: Sequence[str], output: Path | None, bin_size: int | None, title: str) -> int:
    """Draw `metrics` (``all`` for the seven) and say where the figure is. Raises UserError."""
    metrics = list(METRICS) if list(metrics) == ["all"] else list(dict.fromkeys(metrics))
    for metric in metrics:
        if metric not in ALL_METRICS:
            known = ", ".join(ALL_METRICS)
            raise UserError(f'plot: no metric "{metric}"{did_you_mean(metric, ALL_METRICS)} (there are {known})')
    path = output or runs_dir / f"{'_'.join(metrics) if len(metrics) < 3 else 'metrics'}.png"

    from lop_tui import figures  # matplotlib takes its time

    if path.suffix.lower() not in figures.FORMATS:
        raise UserError(f"plot: {path}: choose one of {', '.join(figures.FORMATS)}")
    groups = group_runs(RunsReader(runs_dir).read().runs)
    if not groups:
        raise UserError(f"plot: no runs in {runs_dir}; start some with lop run CFG, or name another --runs-dir")
    drawable = [group for group in groups if any(len(group.curve(metric, bin_size).task) for metric in metrics)]
    if not drawable:
        raise UserError(f"plot: no run in {runs_dir} has finished enough tasks for one bin yet; try a smaller --bin")
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(figures.draw(drawable, metrics, bin_size, title), path)
    console = Console()
    for group in groups:
        if group not in drawable:
            say(console, f"left out: {group.label}, which has no whole bin yet")
    say(console, f"figure: {path}")
    return 0
