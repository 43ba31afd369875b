"""`lop resume`: train what is stopped, failed, lost or left queued to its end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lop_engine.errors import LaunchError
from lop_engine.experiment.spec import Spec
from lop_engine.launch import Plan, cluster, decide_resources, describe_workers, plan_runs, take_up
from lop_engine.runs.code import spec_to_train
from lop_engine.runs.code_changes import Choice, settle_code
from lop_engine.runs.directory import RunDir
from lop_engine.runs.jobs import has_job, scheduler
from lop_engine.runs.locks import other_launcher
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import ENDED
from lop_engine.runs.selection import select
from lop_engine.runs.views import RunView
from lop_tui.commands.background import detach, handed_over, say_taken
from lop_tui.commands.cluster import HERE, Launching, fit, leave_to_jobs, submit
from lop_tui.commands.console import Console, plural, resume_command, say
from lop_tui.commands.run import conclude, identities, say_note, say_unrecorded
from lop_tui.commands.supervise import supervise


@dataclass(frozen=True)
class Means:
    """Where and how runs are trained."""

    device: str
    workers: int | None
    runs_per_worker: int | None
    retries: int
    watch: bool
    detach: bool
    launching: Launching = HERE
    code: Choice = "refuse"


def resume(runs_dir: Path, selectors: Sequence[str], means: Means) -> int:
    """Train runs to their end where they were begun; exit status as of `lop run`. Raises UserError.

    With `means.detach` it is queued, and a launcher in the background trains it.
    """
    console = Console()
    chosen = select(RunsReader(runs_dir).read(), selectors)
    waiting = _waiting(console, chosen, bool(selectors), means.launching)
    if not waiting:
        say_taken()
        say(console, "nothing to resume")
        return 2 if any(_holder(view) and not view.status.job for view in chosen) else 0
    say_unrecorded(console, settle_code(_dirs(waiting), means.code))
    specs = {view.dir: spec_to_train(view.dir) for view in waiting}
    requests = dict(means.launching.requests(waiting))
    here = requests.pop(None, [])
    fitted = [(fit(console, request), views) for request, views in requests.items() if request]
    launchers = [
        cluster(request.launcher).launcher_of(
            _dirs(views), request, runs_dir, means.retries, means.runs_per_worker, specs
        )
        for request, views in fitted
    ]
    # What cannot be had is refused before anything is changed.
    plan = _plan(_dirs(here), specs, means) if here else None
    for launcher in launchers:
        launcher.check()
    for launcher, (request, _) in zip(launchers, fitted, strict=True):
        take_up([run_dir for stack in launcher.plan.stacks for run_dir in stack], request.typed)
    if launchers:
        submit(console, launchers, runs_dir, means.watch and not here)
    return _train_here(console, runs_dir, selectors, here, plan, means) if plan else 0


def _waiting(console: Console, chosen: Sequence[RunView], by_name: bool, launching: Launching) -> list[RunView]:
    """Those of `chosen` that nobody trains or is about to; says what becomes of the rest. Raises LaunchError."""
    for view in chosen:
        if view.problem and by_name:
            raise LaunchError(view.problem)
        if view.problem:
            say(console, f"left out: {view.dir.name}: {view.problem}", style="red")
    readable = [view for view in chosen if not view.problem]
    waiting = [view for view in readable if view.state not in (*ENDED, "running")]
    if queued_for_us := handed_over():  # runs no longer in that queue were stopped meanwhile
        waiting = [view for view in waiting if view.status.launcher and view.status.launcher.token == queued_for_us]
        return [view for view in waiting if view.state == "queued"]
    waiting = [view for view in waiting if not _holder(view)]
    queue = scheduler()
    submitted = [view for view in waiting if has_job(view.status, queue)]
    what_of_the_rest = Counter(_holder(view) or f"{view.state} already" for view in readable if view not in waiting)
    for what, count in sorted(what_of_the_rest.items()):
        say(console, f"{count} of {len(readable)} runs {'is' if count == 1 else 'are'} {what}")
    leave_to_jobs(console, _dirs(submitted), len(readable), launching)
    return [view for view in waiting if view not in submitted]


def _holder(view: RunView) -> str | None:
    """``being trained by process 123 ...`` or ``queued by ...`` for a run that another process holds; else None."""
    if view.state == "running":
        return f"being trained by {view.status.holder}"
    launcher = other_launcher(view.status)
    return f"queued by {launcher}" if launcher else None


def _plan(run_dirs: Sequence[RunDir], specs: Mapping[RunDir, Spec], means: Means) -> Plan:
    chosen = [specs[run_dir] for run_dir in run_dirs]
    return plan_runs(run_dirs, decide_resources(chosen, means.device, means.workers, means.runs_per_worker), specs)


def _train_here(
    console: Console,
    runs_dir: Path,
    selectors: Sequence[str],
    waiting: Sequence[RunView],
    plan: Plan,
    means: Means,
) -> int:
    say_note(console, plan)
    prepared = take_up(_dirs(waiting), handed_over=handed_over())
    say_taken()
    planned = identities(prepared.to_train)
    if means.detach:
        say(console, f"{plural(len(waiting), 'run')}, {len(prepared.resumed)} from checkpoints")
        return detach(console, runs_dir)
    num_runs = plural(len(prepared.to_train), "run")
    say(console, f"{num_runs} on {describe_workers(plan.resources)}, {len(prepared.resumed)} from checkpoints")
    if not supervise(console, plan, planned.keys(), runs_dir, means.watch, means.retries, means.workers):
        say(console, f"stopped; go on with {resume_command(runs_dir, selectors)}")
        return 130
    return conclude(console, runs_dir, planned)


def _dirs(views: Sequence[RunView]) -> list[RunDir]:
    return [view.dir for view in views]
