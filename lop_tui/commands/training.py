"""Trains runs and reports their results; shared by `lop run` and `lop resume`."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lop_engine import NUMERICS
from lop_engine.errors import StoreError
from lop_engine.experiment.spec import Spec
from lop_engine.launch import (
    ClusterLauncher,
    JobRequest,
    Plan,
    cluster,
    decide_resources,
    describe_workers,
    plan_runs,
)
from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import other_launcher
from lop_engine.runs.reading import RunsReader, without_garbage_collection
from lop_engine.runs.records import ENDED
from lop_engine.runs.views import RunView
from lop_tui.commands.background import detach
from lop_tui.commands.cluster import LauncherOptions
from lop_tui.commands.events import RunWatcher
from lop_tui.commands.supervise import supervise
from lop_tui.words.console import Console, plural, say
from lop_tui.words.notices import flag_lines
from lop_tui.words.plan import say_note
from lop_tui.words.runs import summary_tables

ENDED_BY_RULE = "ended by a rule already (lop resume RUN --stop-when none continues without it)"


@dataclass(frozen=True)
class TrainingOptions:
    """Where and how runs are trained."""

    runs_dir: Path
    device: str
    workers: int | None
    runs_per_worker: int | None
    retries: int
    watch: bool
    detach: bool
    launcher_options: LauncherOptions
    notify: str = ""
    """Command to call for events."""

    def plan(self, specs: Mapping[RunDir, Spec]) -> Plan:
        """Return the plan: which workers of this machine train which runs. Raises LaunchError."""
        with without_garbage_collection():
            resources = decide_resources(list(specs.values()), self.device, self.workers, self.runs_per_worker)
            return plan_runs(list(specs), resources, specs)

    def jobs(self, specs: Mapping[RunDir, Spec], request: JobRequest) -> ClusterLauncher:
        """Return the jobs of a cluster that train these runs. Raises LaunchError."""
        of = cluster(request.launcher).launcher_of
        return of(list(specs), request, self.runs_dir, self.retries, self.runs_per_worker, specs)


def train_here(
    console: Console,
    options: TrainingOptions,
    specs: Mapping[RunDir, Spec],
    planned: Mapping[RunDir, str],
    about: str,
    again: str,
) -> int:
    """Train queued runs on this machine, and report their states.

    Args:
        specs: the runs to train.
        planned: the runs to report at the end, each with its identity when it was queued.
        about: additional text for the first line.
        again: arguments that resume the runs, for the message after a stop.
    Returns:
        The exit status: 0 if all runs have ended, 1 if one has not, 130 after a stop; with `detach` 0 at once.
    """
    if options.detach:
        return detach(console, options.runs_dir)
    plan = options.plan(specs)
    say_note(console, plan)
    say(console, f"{plural(len(specs), 'run')} on {describe_workers(plan.resources)}{about}")
    watcher = RunWatcher(options.notify, options.runs_dir, planned.keys())
    if supervise(console, plan, planned.keys(), options.runs_dir, options.watch, options.retries, options.workers):
        status = conclude(console, options.runs_dir, planned)
    else:
        say(console, f"stopped; {again}")
        status = 130
    for warning in watcher.end(status):
        say(console, warning, style="yellow")
    return status


def identities(run_dirs: Iterable[RunDir]) -> dict[RunDir, str]:
    """Return the identity of each run; runs that another command has just removed are left out."""
    identities_of_runs = {}
    for run_dir in run_dirs:
        with suppress(FileNotFoundError):
            identities_of_runs[run_dir] = run_dir.read_id()
    return identities_of_runs


def conclude(console: Console, runs_dir: Path, planned: Mapping[RunDir, str]) -> int:
    """Print the state of the runs by setting; return 1 unless all of them have ended.

    Args:
        planned: each run, and its identity when it was queued.
    """
    views = RunsReader(runs_dir).read().runs
    settings = {run_dir.path.parent for run_dir in planned}
    for table in summary_tables([view for view in views if view.dir.path.parent in settings]):
        console.print(table)
    ours = [view for view in views if view.dir in planned]
    for gone in sorted(planned.keys() - {view.dir for view in ours}):
        say(console, f"{gone.name}: its directory is gone")
    for line in flag_lines(ours):
        say(console, line)
    unended = {view: why for view in ours if (why := _why_not_ended(view, planned[view.dir]))}
    for view, why in unended.items():
        say(console, f"{view.dir.name} {why}", style="red")
    failed = [view for view in unended if view.state == "failed" and not view.problem]
    if failed:
        say(console, f"log: {failed[0].dir.worker_log(failed[0].status)}")
    return 1 if unended or len(ours) < len(planned) else 0


def _why_not_ended(view: RunView, identity: str) -> str | None:
    """The state of a run and why it has not ended; None if it has ended."""
    with suppress(OSError, StoreError):
        if view.dir.read_id() != identity:
            return "was started over by another lop command; its records are not from this lop run"
    if view.state in ENDED:
        return None
    return f"{view.state}: {view.problem or view.status.error or _hint(view)}"


def _hint(view: RunView) -> str:
    launcher = other_launcher(view.status)
    if view.state == "queued" and launcher:
        return f"by {launcher}"
    return {
        "lost": "its worker is gone; run the same command again to resume it",
        "stopped": "by another command or a signal; run the same command again to resume it",
        "running": f"by {view.status.holder}",
        "queued": "its lop run has ended; run the same command again to train it",
    }.get(view.state, "")


def say_unrecorded(console: Console, run_dirs: Sequence[RunDir]) -> None:
    """Report runs that continue although their run.json does not record their code."""
    if run_dirs:
        more = f" and {plural(len(run_dirs) - 1, 'more run')}" if len(run_dirs) > 1 else ""
        say(
            console,
            f"note: {run_dirs[0].name}{more} began with a version of lop that did not record its code; "
            f"its numbers are those of this version (numerics {NUMERICS})",
        )
