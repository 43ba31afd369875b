"""`lop rm`: removes runs and their records."""

from lop_engine.errors import LaunchError
from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIR, RunsDir, Selectors, Where, Yes


@app.command(epilog="Example: [b]lop rm bp/step_size=0.01[/b]", rich_help_panel="Train")
def rm(runs: Selectors = None, runs_dir: RunsDir = DEFAULT_RUNS_DIR, where: Where = "", yes: Yes = False) -> int:
    """Remove runs and their records, after asking; running runs are refused."""
    from lop_engine.launch import cancel_jobs, idle_jobs, look_at_removal, remove_runs
    from lop_engine.runs.reading import RunsReader
    from lop_tui.commands.reading import asked_for, say_matched, select_runs
    from lop_tui.words.console import Console, confirm, plural, say

    asked_for("rm", runs or [], where)
    console = Console()
    snapshot = RunsReader(runs_dir).read()
    selection = select_runs(snapshot, runs or [], where)
    say_matched(console, selection, snapshot)
    chosen = selection.runs
    running = [view.dir.name for view in chosen if view.state == "running"]
    if running:
        raise LaunchError(
            f"{running[0]} is running{f' and {len(running) - 1} more' * (len(running) > 1)}; lop stop first"
        )
    looked_at = look_at_removal(view.dir for view in chosen)
    if not yes:
        names = ", ".join(view.dir.name for view in chosen[:5]) + (", ..." if len(chosen) > 5 else "")
        question = f"this removes {plural(len(chosen), 'run')} and all records under {runs_dir} ({names}). Remove?"
        confirm(console, question, "nothing removed")
    removed = remove_runs(looked_at)
    cancel_jobs(idle_jobs(snapshot.runs, set(removed)))
    say(console, f"{plural(len(removed), 'run')} removed")
    return 0
