"""`lop stop`: stop running and queued runs."""

from typing import Annotated

import typer

from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIR, RunsDir, Selectors, Where


@app.command(epilog="Example: [b]lop stop cbp[/b]", rich_help_panel="Train")
def stop(
    runs: Selectors = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    now: Annotated[
        bool, typer.Option("--now", help="Stop at once, without finishing the epoch; lop resume repeats the epoch.")
    ] = False,
) -> int:
    """Stop running runs, which write a checkpoint first, and queued runs; by default all."""
    from lop_engine.launch import stop_runs, wait_for_status, wait_until_stopped
    from lop_engine.runs.reading import RunsReader
    from lop_engine.runs.selection import names_of
    from lop_tui.commands.reading import say_matched, select_runs
    from lop_tui.words.console import Console, plural, resume_command, say

    console = Console()
    snapshot = RunsReader(runs_dir).read()
    selection = select_runs(snapshot, runs or [], where)
    say_matched(console, selection, snapshot)
    chosen = [view for view in selection.runs if view.state in ("running", "queued")]
    if not chosen:
        say(console, "nothing to stop: none of these runs is running or queued")
        return 0
    stopped = stop_runs(chosen, snapshot.runs, now)
    for run_dir, host in stopped.elsewhere:
        say(console, f"{run_dir.name} runs on {host}: stop it there", style="red")
    marked = stopped.by_status + stopped.leaving
    left = wait_until_stopped(stopped.signalled) + wait_for_status(marked)
    for run_dir in left:
        status = run_dir.read_status()
        say(console, f"{run_dir.name}: its worker ({status.holder}) has not ended yet", style="red")
    again = runs or [] if selection.query.is_empty else names_of(chosen)
    done = len(stopped.signalled) + len(marked) - len(left) + len(stopped.dequeued)
    say(console, f"{plural(done, 'run')} stopped; resume with {resume_command(runs_dir, again)}")
    return 1 if left or stopped.elsewhere else 0
