"""The live dashboard. Importing this package loads neither Textual nor plotext; its functions do."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lop_tui.dashboard.model import View


def run_dashboard(runs_dir: Path, refresh_s: float = 1.0, until: "Callable[[View], bool] | None" = None) -> bool:
    """Show the dashboard until the user quits, or until a frame of which `until` is true.

    Returns whether it left by itself, or all runs had ended; False means that the user left before.
    """
    from lop_engine.runs import RunsReader
    from lop_tui.dashboard.app import Dashboard

    return bool(Dashboard(RunsReader(runs_dir).read, refresh_s, until).run())


def render_once(runs_dir: Path, width: int, height: int, coloured: bool | None = None) -> str:
    """One frame as text of at most `width` columns; about `height` lines, more if the table needs them.

    Args:
        coloured: with ANSI colours; by default if stdout is a terminal and NO_COLOR is not set.
    """
    from lop_tui.dashboard.text import render

    return render(runs_dir, width, height, coloured)
