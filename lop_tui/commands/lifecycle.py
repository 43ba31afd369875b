"""`lop stop` and `lop rm`: runs are ended, or cleared away."""

from collections.abc import Sequence
from pathlib import Path

from lop_engine.errors import LaunchError
from lop_engine.launch import (
    cancel_jobs,
    idle_jobs,
    look_at_removal,
    remove_runs,
    stop_runs,
    wait_for_status,
    wait_until_stopped,
)
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.selection import select
from lop_engine.runs.views import RunView
from lop_tui.commands.console import Console, confirm, plural, resume_command, say


def stop(runs_dir: Path, selectors: Sequence[str], at_once: bool) -> int:
    """Stop running and waiting runs; return 0 if none of them is left running. Raises LaunchError."""
    console = Console()
    snapshot = RunsReader(runs_dir).read()
    chosen = [view for view in select(snapshot, selectors) if view.state in ("running", "queued")]
    if not chosen:
        say(console, "nothing to stop: none of these runs is running or queued")
        return 0
    stopped = stop_runs(chosen, snapshot.runs, at_once)
    for run_dir, host in stopped.elsewhere:
        say(console, f"{run_dir.name} runs on {host}: stop it there", style="red")
    marked = stopped.by_status + stopped.leaving
    left = wait_until_stopped(stopped.asked) + wait_for_status(marked)
    for run_dir in left:
        status = run_dir.read_status()
        say(console, f"{run_dir.name}: its worker ({status.holder}) has not ended yet", style="red")
    done = len(stopped.asked) + len(marked) - len(left) + len(stopped.dequeued)
    say(console, f"{plural(done, 'run')} stopped; go on with {resume_command(runs_dir, selectors)}")
    return 1 if left or stopped.elsewhere else 0


def remove(runs_dir: Path, selectors: Sequence[str], yes: bool) -> int:
    """Remove runs and their records, after asking; never one that is being trained. Raises LaunchError."""
    console = Console()
    snapshot = RunsReader(runs_dir).read()
    chosen = select(snapshot, selectors)
    running = [view.dir.name for view in chosen if view.state == "running"]
    if running:
        raise LaunchError(
            f"{running[0]} is running{f' and {len(running) - 1} more' * (len(running) > 1)}; lop stop first"
        )
    looked_at = look_at_removal(view.dir for view in chosen)
    if not yes:
        _confirm(console, chosen, runs_dir)
    removed = remove_runs(looked_at)
    cancel_jobs(idle_jobs(snapshot.runs, set(removed)))
    say(console, f"{plural(len(removed), 'run')} removed")
    return 0


def _confirm(console: Console, chosen: Sequence[RunView], runs_dir: Path) -> None:
    names = ", ".join(view.dir.name for view in chosen[:5]) + (", ..." if len(chosen) > 5 else "")
    question = f"this removes {plural(len(chosen), 'run')} and all records under {runs_dir} ({names}). Remove?"
    confirm(console, question, "nothing removed")
