"""`lop stop`, `lop resume` and `lop rm`: what is done to runs that exist."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lop_engine.errors import LaunchError
from lop_engine.launch import decide_resources, plan_runs, stop_runs, take_up, wait_for_status, wait_until_stopped
from lop_engine.launch.slurm import Submission
from lop_engine.locks import hold
from lop_engine.records import ENDED
from lop_engine.runs import RunsReader, RunView
from lop_engine.selection import select
from lop_engine.spec import validate
from lop_tui.commands.cluster import HERE, Launching, plan_for_cluster, submit
from lop_tui.commands.console import confirm, in_runs_dir, plural, say
from lop_tui.commands.run import DETACHED, conclude, describe, detach
from lop_tui.commands.supervise import supervise


def stop(runs_dir: Path, selectors: Sequence[str], at_once: bool) -> int:
    """Stop running and waiting runs; return 0 if none of them is left running. Raises LaunchError."""
    console = Console()
    snapshot = RunsReader(runs_dir).read()
    chosen = [view for view in select(snapshot, selectors) if view.state in ("running", "queued")]
    if not chosen:
        say(console, "nothing to stop: none of these runs is running or queued")
        return 0
    stopped = stop_runs(chosen, snapshot.runs, at_once)
    if stopped.along:
        along = ", ".join(run_dir.name for run_dir in stopped.along)
        say(console, f"in the same worker, and so stopped with it: {along}")
    for run_dir, host in stopped.elsewhere:
        say(console, f"{run_dir.name} runs on {host}: stop it there", style="red")
    left = wait_until_stopped(stopped.asked) + wait_for_status(stopped.by_status)
    for run_dir in left:
        status = run_dir.read_status()
        say(console, f"{run_dir.name}: its worker ({status.holder}) has not ended yet", style="red")
    done = len(stopped.asked) + len(stopped.by_status) - len(left) + len(stopped.dequeued)
    say(console, f"{plural(done, 'run')} stopped; go on with {_resume_command(runs_dir, selectors)}")
    return 1 if left or stopped.elsewhere else 0


@dataclass(frozen=True)
class Means:
    """Where and how runs are trained."""

    device: str
    workers: int | None
    seeds_per_worker: int | None
    retries: int
    watch: bool
    detach: bool
    launching: Launching = HERE


def resume(runs_dir: Path, selectors: Sequence[str], means: Means) -> int:
    """Train what is stopped, failed, lost or left queued to its end; exit status as of `lop run`. Raises UserError.

    With `means.detach` it is queued, and a launcher in the background trains it.
    """
    console = Console()
    chosen = select(RunsReader(runs_dir).read(), selectors)
    for view in chosen:
        if view.problem and selectors:
            raise LaunchError(view.problem)
        if view.problem:
            say(console, f"left out: {view.dir.name}: {view.problem}", style="red")
    chosen = [view for view in chosen if not view.problem]
    waiting = [view for view in chosen if view.state not in (*ENDED, "running")]
    if DETACHED in os.environ:  # these were queued for us; what is not any more has been stopped meanwhile
        waiting = [view for view in waiting if view.state == "queued"]
    for state in ("running", *sorted(ENDED)):
        count = sum(view.state == state for view in chosen)
        if count:
            say(console, f"{count} of {len(chosen)} runs {'is' if count == 1 else 'are'} {state} already")
    if not waiting:
        say(console, "nothing to resume")
        return 0
    if cluster := means.launching.slurm_options():
        plan = plan_for_cluster([view.dir for view in waiting], cluster, means.seeds_per_worker)
        Submission(plan, cluster, runs_dir, means.retries).check()
        take_up([view.dir for view in waiting])
        return submit(console, plan, cluster, runs_dir, means.retries, means.watch)
    if not means.launching.launcher:
        _refuse_to_train_here(waiting)
    specs = [validate(dict(view.spec), str(view.dir.run_json)) for view in waiting]
    resources = decide_resources(specs, means.device, means.workers, means.seeds_per_worker)
    prepared = take_up([view.dir for view in waiting])
    if means.detach:
        say(console, f"{plural(len(waiting), 'run')}, {len(prepared.resumed)} from checkpoints")
        return detach(console, runs_dir)
    plan = plan_runs(prepared.to_train, resources)
    say(console, f"{plural(len(waiting), 'run')} on {describe(plan)}, {len(prepared.resumed)} from checkpoints")
    dirs = {view.dir for view in waiting}
    if not supervise(console, plan, dirs, runs_dir, means.watch, means.retries):
        say(console, f"stopped; go on with {_resume_command(runs_dir, selectors)}")
        return 130
    return conclude(console, runs_dir, dirs)


def _refuse_to_train_here(waiting: Sequence[RunView]) -> None:
    """What was begun on a cluster is hardly meant to go on on its login node. Raises LaunchError."""
    jobs = [view for view in waiting if view.status.job and view.status.host != socket.gethostname()]
    if jobs:
        raise LaunchError(
            f"{jobs[0].dir.name} was trained by job {jobs[0].status.job} on {jobs[0].status.host}: "
            "go on there with --launcher slurm, or on this machine with --launcher local"
        )


def remove(runs_dir: Path, selectors: Sequence[str], yes: bool) -> int:
    """Remove runs and their records, after asking; never one that is being trained. Raises LaunchError."""
    console = Console()
    chosen = select(RunsReader(runs_dir).read(), selectors)
    running = [view.dir.name for view in chosen if view.state == "running"]
    if running:
        raise LaunchError(
            f"{running[0]} is running{f' and {len(running) - 1} more' * (len(running) > 1)}; lop stop first"
        )
    inside = runs_dir.resolve()
    for view in chosen:
        if view.dir.path.resolve() != inside / view.dir.name:
            raise LaunchError(f"{view.dir.path}: leads elsewhere by a link; remove it by hand")
    if not yes:
        _confirm(console, chosen, runs_dir)
    for view in chosen:
        with hold(view.dir):
            view.dir.clear()
        _remove_empty(view.dir.path.parent, runs_dir)
    say(console, f"{plural(len(chosen), 'run')} removed")
    return 0


def _confirm(console: Console, chosen: Sequence[RunView], runs_dir: Path) -> None:
    names = ", ".join(view.dir.name for view in chosen[:5]) + (", ..." if len(chosen) > 5 else "")
    question = f"this removes {plural(len(chosen), 'run')} and all records under {runs_dir} ({names}). Remove?"
    confirm(console, question, "nothing removed")


def _remove_empty(directory: Path, runs_dir: Path) -> None:
    """Remove directories that a removed run leaves empty, up to the runs directory itself."""
    while directory != runs_dir:
        try:
            directory.rmdir()
        except OSError:  # not empty
            return
        directory = directory.parent


def _resume_command(runs_dir: Path, selectors: Sequence[str]) -> str:
    return " ".join(["lop resume", *selectors]) + in_runs_dir(runs_dir)
