"""`lop show`: shows everything about one run."""

from contextlib import suppress

from lop_engine.errors import LaunchError, StoreError
from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIRS, Json, OneRun, RunsDirs, Where


@app.command(epilog="Example: [b]lop show cbp/default/3[/b]", rich_help_panel="Look")
def show(runs: OneRun = None, runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS, where: Where = "", as_json: Json = False) -> int:
    """Show one run: configuration, versions, progress, metrics over time, last tasks."""
    from lop_engine.runs.several import read_together
    from lop_tui.commands.reading import asked_for, select_runs
    from lop_tui.words.console import Console, print_json, say
    from lop_tui.words.one_run import ASCII_BARS, BARS, as_dict, facts_of, last_tasks

    typed = asked_for("show", runs or [], where)
    chosen = select_runs(read_together(runs_dirs), runs or [], where).runs
    if len(chosen) > 1:
        names = ", ".join(view.dir.name for view in chosen[:6]) + (", ..." if len(chosen) > 6 else "")
        raise LaunchError(f'"{typed}" names {len(chosen)} runs; choose one of {names}')
    [view] = chosen
    config = {}
    with suppress(StoreError, FileNotFoundError):  # its problem is reported below
        config = view.dir.read_config()
    if as_json:
        print_json(as_dict(view, config))
        return 0
    console = Console()
    for line in facts_of(view, config):
        say(console, line)
    if tasks := view.tasks_recorded:
        bars = ASCII_BARS if console.options.ascii_only else BARS
        console.print(last_tasks(view, tasks, bars, console.width))
    for flag in view.flags:
        say(console, f"note: {flag}", style="yellow")
    if error := view.problem or view.status.error:
        say(console, f"error: {error}", style="red")
    return 0
