"""`lop watch`: the dashboard, or one frame of it as text or numbers."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lop_engine.errors import UserError
from lop_engine.runs.query import parse_query
from lop_tui.commands.console import print_json
from lop_tui.dashboard import read_numbers, render_once, run_dashboard


def watch_runs(
    runs_dir: Path, once: bool, as_json: bool, refresh_s: float, query: str | None, metrics: Sequence[str] = ()
) -> int:
    """Show the dashboard until it is closed, or print one frame. Raises UserError without a terminal.

    Args:
        metrics: the charts of a printed frame; none chooses the default ones.
    """
    if metrics and not once:
        raise UserError("watch: --metric applies only to --once; the dashboard and --json show all metrics")
    if runs_dir.exists() and not runs_dir.is_dir():
        raise UserError(f"watch: {runs_dir} is a file; name the directory that holds the runs")
    parse_query(query or "")
    if as_json:
        print_json(read_numbers(runs_dir, query or ""))
        return 0
    if once:
        size = shutil.get_terminal_size((120, 40))
        print(
            render_once(runs_dir, size.columns, size.lines - 1, query=query or "", metrics=list(dict.fromkeys(metrics)))
        )
        return 0
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("watch: the dashboard needs a terminal; lop watch --once prints one frame anywhere")
    run_dashboard(runs_dir, refresh_s, query=query)
    return 0
