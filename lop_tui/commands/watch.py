"""`lop watch`: the dashboard, or one frame of it."""

import shutil
import sys
from pathlib import Path

from lop_engine.errors import UserError
from lop_tui.dashboard import render_once, run_dashboard


def watch_runs(runs_dir: Path, once: bool, refresh_s: float) -> int:
    """Show the dashboard until it is closed; with `once`, print one frame. Raises UserError without a terminal."""
    if once:
        size = shutil.get_terminal_size((120, 40))
        print(render_once(runs_dir, size.columns, size.lines - 1))
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("watch: the dashboard needs a terminal; lop watch --once prints one frame anywhere")
    run_dashboard(runs_dir, refresh_s)
    return 0
