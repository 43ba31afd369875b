"""`--launcher slurm`: the same runs as tasks of a job array."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lop_engine.errors import LaunchError, StoreError
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.stacks import stack_key
from lop_engine.launch import Plan, Resources, plan_runs
from lop_engine.launch.slurm import SlurmOptions, SlurmRequest, Submission, fit_to_cluster, release
from lop_engine.launch.slurm.options import stage_directory
from lop_engine.launch.stack_sizes import runs_that_pay
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import ENDED, RunStatus
from lop_engine.runs.scheduler import HELD, Scheduler
from lop_engine.runs.views import RunView
from lop_tui.commands.console import Console, in_runs_dir, plural, say
from lop_tui.commands.watch import watch_runs

LAUNCHERS = ("local", "slurm")
RUNS_ON_A_GPU = 10


@dataclass(frozen=True)
class Launching:
    """Where runs are trained, as it was typed."""

    launcher: str | None = None
    """None where nothing was said: new runs on this machine, others where they were."""
    options: tuple[str, ...] = ()
    """``key=value`` for Slurm."""

    @classmethod
    def typed(cls, launcher: str | None, slurm: Sequence[str] | None, stage: str | None) -> "Launching":
        """From the command line; ``--stage DIR`` is short for a last ``--slurm stage=DIR``. Raises LaunchError."""
        keys = [option.partition("=")[0] for option in slurm or () if not option.startswith("setup=")]
        if again := next((key for key in keys if keys.count(key) > 1), None):
            raise LaunchError(f'--slurm gives "{again}" twice; give it once')
        if stage is None:
            return cls(launcher, tuple(slurm or ()))
        try:
            return cls(launcher, (*(slurm or ()), f"stage={stage_directory(stage)}"))
        except ValueError as error:
            raise LaunchError(f'--stage "{stage}": {error}') from None

    def request(self, status: RunStatus | None = None) -> SlurmRequest | None:
        """What to ask Slurm for; None where this machine trains. Raises ConfigError or LaunchError.

        Args:
            status: of the run that goes on.
        """
        if self.launcher not in (None, *LAUNCHERS):
            raise LaunchError(f'--launcher "{self.launcher}": choose {" or ".join(LAUNCHERS)}')
        before = status.job_options if status else None
        if self.launcher == "slurm" or (self.launcher is None and before is not None):
            return SlurmRequest.of(self.options, before or ())
        if self.options:
            word = "--stage" if all(option.startswith("stage=") for option in self.options) else "--slurm"
            raise LaunchError(f"{word} is for --launcher slurm")
        return None

    def requests(self, views: Iterable[RunView]) -> Mapping[SlurmRequest | None, list[RunView]]:
        """Runs that go on, by `request`."""
        found = defaultdict(list)
        for view in views:
            found[self.request(view.status)].append(view)
        return found


HERE = Launching()


def fit(console: Console, request: SlurmRequest) -> SlurmRequest:
    """Fit a request to what the cluster allows, and say what follows from that. Raises LaunchError."""
    request = fit_to_cluster(request)
    for note in request.notes:
        say(console, f"note: {note}", style="yellow")
    return request


def refuse_to_train_here(dirs: Iterable[RunDir]) -> None:
    """What was begun on a cluster is hardly meant to go on on its login node. Raises LaunchError."""
    for run_dir in dirs:
        try:
            status = run_dir.read_status()
        except (OSError, StoreError):  # said elsewhere
            continue
        if status.is_submitted and status.state not in ENDED:
            raise LaunchError(
                f"{run_dir.name} was submitted to Slurm: go on there with --launcher slurm, or on this machine with "
                "--launcher local"
            )


def leave_to_jobs(console: Console, dirs: Sequence[RunDir], total: int, launching: Launching) -> None:
    """Say that runs have a job, and let go what a submission that was cut off has left held. Raises LaunchError."""
    if dirs:
        say(console, f"{len(dirs)} of {total} runs have a job in Slurm's queue already (lop stop takes it out)")
    if launching.launcher == "local":
        return
    scheduler, held = Scheduler(), set()
    for name in filter(None, (run_dir.read_status().job for run_dir in dirs)):
        with suppress(LookupError):
            if (job := scheduler.job(name)) and job.reason == HELD:
                held.add(name.partition("_")[0])
    release(held)
    if held:
        say(console, f"released, as they were held: {', '.join(f'job {job}' for job in sorted(held))}")


def plan_for_cluster(
    dirs: Sequence[RunDir],
    options: SlurmOptions,
    runs_per_worker: int | None,
    specs: Mapping[RunDir, Spec] | None = None,
) -> Plan:
    """Runs for each task: ten for each of its GPUs, else as many as pay for each CPU; a worker for each of those."""
    devices = [f"cuda:{number}" for number in range(options.gpus)] or ["cpu"] * options.cpus
    number = len(devices)
    size = runs_per_worker or (RUNS_ON_A_GPU if options.gpus else 1)
    sizes = {}
    if specs and not options.gpus and not runs_per_worker:
        sizes = {stack_key(spec): number * runs_that_pay(spec) for spec in dict.fromkeys(specs.values())}
    return plan_runs(dirs, Resources(devices, max(1, options.cpus // number), size * number, sizes=sizes), specs)


def describe_array(submission: Submission) -> str:
    """``12 tasks of a job array (cpu, 1 worker of 1 thread each)``."""
    plan, options = submission.plan, submission.options
    workers = f"{plural(plan.resources.workers, 'worker')} of {plural(plan.resources.threads, 'thread')} each"
    where = f"{'cuda' if options.gpus else 'cpu'}, {workers}"
    where += ", images staged on their nodes" if options.stage else ""
    arrays = "a job array" if len(submission.arrays) == 1 else f"{len(submission.arrays)} job arrays"
    return f"{plural(len(plan.stacks), 'task')} of {arrays} ({where})"


def _are_made(plan: Plan) -> bool:
    """Whether no run of a plan reads images from a disk."""
    return all(stack[0].read_spec().get("dataset", "synthetic") == "synthetic" for stack in plan.stacks)


def submit(console: Console, submissions: Sequence[Submission], runs_dir: Path, watch: bool = False) -> int:
    """Submit plans whose runs are queued, say how to follow them or show it; return 0. Raises UserError."""
    for job in submissions[0].left_behind():
        say(
            console, f"job {job} is held, and trains nothing: its submission was cut off. scancel {job}", style="yellow"
        )
    for submission in submissions:
        numbers = submission.submit()
        jobs = ", ".join(f"job {number}" for number in numbers)
        say(console, f"submitted {describe_array(submission)}: {jobs}")
        if submission.options.stage and _are_made(submission.plan):
            say(console, "note: these runs read no images from a disk; there is nothing to stage")
    where = in_runs_dir(runs_dir)
    say(console, f"follow it: lop watch{where}    how it stands: lop status{where}    stop it: lop stop{where}")
    return watch_runs(runs_dir, once=False, as_json=False, refresh_s=1.0, query=None) if watch else 0
