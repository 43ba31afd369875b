"""`lop watch`: shows the dashboard, or one frame as text or numbers."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lop_engine.errors import UserError
from lop_tui.commands.app import app
from lop_tui.commands.options import CARRY, DEFAULT_RUNS_DIRS, WHERE, EndedByRule, RunsDirs, as_runs_dirs


@app.command(epilog="Example: [b]lop watch runs/demo[/b]", rich_help_panel="Look")
def watch(
    context: typer.Context,
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUNS_DIR]...", help="Directory of the runs.", callback=as_runs_dirs),
    ] = None,
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    where: Annotated[str | None, WHERE] = None,
    ended_by_rule: EndedByRule = CARRY,
    once: Annotated[bool, typer.Option("--once", help="Print one frame as text and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers of one frame as JSON and exit.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="With --once: draw this metric; repeatable. By default the first five charts of the problem.",
            show_default=False,
        ),
    ] = None,
    refresh: Annotated[float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="Seconds between updates.")] = 1.0,
    web: Annotated[
        bool, typer.Option("--web", help="Serve the dashboard to browsers on this machine, read-only (extra web).")
    ] = False,
    web_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="With --web; 0 uses a free port.")
    ] = 8000,
    web_write: Annotated[
        bool, typer.Option("--web-write", help="With --web: allow the keys that stop and resume runs and write files.")
    ] = False,
) -> int:
    """Show all runs and their metrics live, in a dashboard."""
    from lop_tui.commands.reading import carries

    is_typed = getattr(context.get_parameter_source("runs_dirs"), "name", "") == "COMMANDLINE"
    named = [*(directories or []), *(runs_dirs if is_typed or not directories else [])]
    named, keeps = list(dict.fromkeys(named)), carries("watch", ended_by_rule)
    if web:
        if once or as_json or metric:
            raise UserError("watch: --web serves the dashboard; leave out --once, --json and --metric")
        return serve_runs(named, web_port, refresh, where, keeps, web_write)
    if web_write:
        raise UserError("watch: --web-write applies only to --web; add --web")
    return watch_runs(named, once, as_json, refresh, where, metric or [], keeps)


def watch_runs(
    runs_dirs: Sequence[Path],
    once: bool,
    as_json: bool,
    refresh_s: float,
    query: str | None,
    metrics: Sequence[str] = (),
    carries: bool = True,
) -> int:
    """Show the dashboard until it is closed, or print one frame. Raises UserError without a terminal.

    Args:
        metrics: charts of a printed frame; none: the default ones.
        carries: how means treat runs that a rule ended, see `RunView.carries`.
    """
    from lop_engine.runs.several import SeveralReader
    from lop_tui.dashboard import read_numbers, render_once, run_dashboard
    from lop_tui.words.console import print_json

    if metrics and not once:
        raise UserError("watch: --metric applies only to --once; the dashboard and --json show all metrics")
    reader = SeveralReader(runs_dirs, carries)
    if as_json:
        print_json(read_numbers(reader, query or ""))
        return 0
    if once:
        size = shutil.get_terminal_size((120, 40))
        shown = list(dict.fromkeys(metrics))
        print(render_once(reader, size.columns, size.lines - 1, query=query or "", metrics=shown))
        return 0
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("watch: the dashboard needs a terminal; lop watch --once prints one frame anywhere")
    run_dashboard(runs_dirs[0], refresh_s, query=query, reader=reader)
    return 0


def serve_runs(
    runs_dirs: Sequence[Path], port: int, refresh_s: float, query: str | None, carries: bool, writes: bool
) -> int:
    """Serve the dashboard to browsers until Ctrl-C. Raises UserError without the extra, QueryError.

    Args:
        carries: how means treat runs that a rule ended, see `RunView.carries`.
        writes: allow the keys that stop and resume runs and write files.
    """
    from lop_engine.extras import install_hint
    from lop_engine.runs.query import filter_runs
    from lop_engine.runs.several import read_together

    filter_runs(read_together(runs_dirs).runs, query or "")  # reports errors in the filter
    try:
        from lop_tui.dashboard.web import PageOptions, serve
    except ModuleNotFoundError as error:
        raise UserError(f"watch: --web needs textual-serve; install it: {install_hint('web')}") from error
    serve(PageOptions(tuple(runs_dirs), refresh_s, query, carries, writes), port)
    return 0
