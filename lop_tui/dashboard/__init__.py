"""The live dashboard. Importing this package loads neither Textual nor plotext; its functions do."""

from pathlib import Path


def run_dashboard(runs_dir: Path, refresh_s: float = 1.0, exit_when_done: bool = False) -> bool:
    """Show the dashboard until the user quits, or until all runs have ended if `exit_when_done`.

    Returns whether all runs had ended; False means that the user left before.
    """
    from lop_engine.runs import RunsReader
    from lop_tui.dashboard.app import Dashboard

    return bool(Dashboard(RunsReader(runs_dir).read, refresh_s, exit_when_done).run())


def render_once(runs_dir: Path, width: int, height: int, coloured: bool | None = None) -> str:
    """One frame as text of at most `width` columns; about `height` lines, more if the table needs them.

    Args:
        coloured: with ANSI colours; by default if stdout is a terminal and NO_COLOR is not set.
    """
    from lop_tui.dashboard.text import render

    return render(runs_dir, width, height, coloured)
