"""The live dashboard. Importing this package loads neither Textual nor plotext; its functions do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lop_engine.runs.reading import RunsReader
    from lop_engine.runs.several import SeveralReader
    from lop_tui.dashboard.model import View

    Reader = RunsReader | SeveralReader


def run_dashboard(
    runs_dir: Path,
    refresh_s: float = 1.0,
    until: "Callable[[View], bool] | None" = None,
    query: str | None = None,
    reader: "Reader | None" = None,
    writes: bool = True,
) -> bool:
    """Show the dashboard until the user quits, or until a frame for which `until` is true.

    Args:
        runs_dir: the directory whose saved settings are used.
        query: the filter at the start; by default the last one used with this directory. Raises QueryError.
        reader: reads the runs; by default those in `runs_dir`.
        writes: allow the keys that stop and resume runs and write files; if false, choices are not saved either.
    Returns:
        True if the dashboard ended because of `until` or all runs had ended; False if the user quit earlier.
    """
    from dataclasses import replace
    from functools import partial

    from lop_engine.runs.query import filter_runs
    from lop_engine.runs.reading import RunsReader
    from lop_tui.dashboard.app import Dashboard
    from lop_tui.dashboard.settings import load_settings, save_settings
    from lop_tui.dashboard.terminal import leaving_on_signals, leaving_with_the_terminal

    settings, reader = load_settings(runs_dir), reader or RunsReader(runs_dir)
    if query is not None:
        filter_runs(reader.read().runs, query)  # report a mistyped name; run.json files name metrics of own components
        settings = replace(settings, query=query)
    keep = partial(save_settings, runs_dir) if writes else lambda settings: None
    app = Dashboard(reader.read, refresh_s, until, settings, keep, writes, reader.read_ends)
    with leaving_on_signals(app.leave), leaving_with_the_terminal(app.leave):
        return bool(app.run())


def render_once(
    runs: "Path | Reader",
    width: int,
    height: int,
    coloured: bool | None = None,
    query: str = "",
    metrics: Sequence[str] = (),
) -> str:
    """Return one frame as text of at most `width` columns and about `height` lines, more if table and charts need them.

    Args:
        runs: the runs directory, or a reader.
        coloured: use ANSI colours; by default if stdout is a terminal and NO_COLOR is not set.
        query: the filter. Raises QueryError.
        metrics: draw one chart for each; by default the problem's first five. Raises UserError for an unknown one.
    """
    from lop_tui.dashboard.once import render

    return render(runs, width, height, coloured, query, metrics)


def read_numbers(runs: "Path | Reader", query: str = "") -> dict[str, Any]:
    """Return one frame as numbers, for programs; see `once.as_dict`. Raises QueryError."""
    from lop_tui.dashboard.once import as_dict, read_views

    return as_dict(*read_views(runs, query))
