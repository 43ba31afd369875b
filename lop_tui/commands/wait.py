"""`lop wait`: waits until runs have ended, wherever they are trained."""

from typing import Annotated

import typer

from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIR, Notify, RunsDir, Selectors, Where


@app.command(epilog="Example: [b]lop wait cbp --timeout 3600 && lop plot[/b]", rich_help_panel="Train")
def wait(
    runs: Selectors = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Give up after this time.", show_default=False)
    ] = None,
    notify: Notify = "",
) -> int:
    """Wait until runs have ended; all by default. Exit status 0: all ended, 1: one did not, 124: timeout."""
    from lop_engine.errors import UserError
    from lop_engine.runs.reading import RunsReader
    from lop_tui.commands.events import Notifier, exit_status, summary, wait_for, why_not_ended
    from lop_tui.commands.reading import no_runs, select_runs
    from lop_tui.words.console import Console, say

    console = Console()
    reader = RunsReader(runs_dir)
    snapshot = reader.read()
    if not snapshot.runs:
        raise UserError(f"wait: {no_runs(snapshot)}")
    chosen = {view.dir for view in select_runs(snapshot, runs or [], where).runs}
    notifier = Notifier(notify, runs_dir)
    result = wait_for(reader, chosen, timeout, notifier)
    say(console, summary(list(result.states.values())))
    for line in why_not_ended(result):
        say(console, line, style="red")
    status = exit_status(result)
    for warning in notifier.end(result.statuses, status):
        say(console, warning, style="yellow")
    return status
