"""`--launcher slurm`: trains runs as tasks of job arrays; implements `lop_engine.launch.launcher.Cluster`."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lop_engine.errors import StoreError
from lop_engine.experiment.spec import Spec, stack_key
from lop_engine.launch.launcher import ClusterLauncher
from lop_engine.launch.plan import Plan, Resources, plan_runs
from lop_engine.launch.slurm.jobs import Scheduler
from lop_engine.launch.slurm.limits import fit_to_cluster
from lop_engine.launch.slurm.options import SlurmOptions, SlurmRequest, stage_directory
from lop_engine.launch.slurm.submission import Submission, cancel, release
from lop_engine.launch.stack_sizes import runs_that_pay
from lop_engine.runs import jobs as jobs_of_runs
from lop_engine.runs.directory import RunDir
from lop_engine.text import plural

__all__ = ["SlurmLauncher", "cancel", "fit", "launcher_of", "read_request", "release_held", "stage_option"]

RUNS_ON_A_GPU = 10


class SlurmLauncher:
    """Submits a plan as job arrays, which Slurm starts without this process.

    Args:
        request, runs_dir, retries: see `Submission`.
    """

    def __init__(self, plan: Plan, request: SlurmRequest, runs_dir: Path, retries: int) -> None:
        self.plan, self._options = plan, request.options
        self._submission = Submission(plan, request, runs_dir, retries)

    def describe(self) -> str:
        """Return ``12 tasks of a job array (cpu, 1 worker of 1 thread each)``."""
        resources, arrays = self.plan.resources, len(self._submission.arrays)
        workers = f"{plural(resources.workers, 'worker')} of {plural(resources.threads, 'thread')} each"
        where = f"{'cuda' if self._options.gpus else 'cpu'}, {workers}"
        where += ", images staged on their nodes" if self._options.stage else ""
        of_arrays = "a job array" if arrays == 1 else f"{arrays} job arrays"
        return f"{plural(len(self.plan.stacks), 'task')} of {of_arrays} ({where})"

    def preview(self) -> list[str]:
        """Return the sbatch script, of the first array if there are several. Raises LaunchError without submitit."""
        arrays = len(self._submission.arrays)
        several = [f"the script of the first of {arrays} job arrays:"] if arrays > 1 else []
        return [*several, self._submission.script()]

    def check(self) -> None:
        """Ask Slurm whether it would accept the arrays. Raises LaunchError with Slurm's reason."""
        self._submission.check()

    def left_behind(self) -> list[str]:
        """Return warnings about jobs of an interrupted submission: they are held and train nothing."""
        held = self._submission.left_behind()
        return [f"job {job} is held, as its submission was interrupted; remove it: scancel {job}" for job in held]

    def start(self) -> list[str]:
        """Submit the arrays; return what to tell the user. Raises LaunchError if Slurm refuses one."""
        jobs = ", ".join(f"job {number}" for number in self._submission.submit())
        lines = [f"submitted {self.describe()}: {jobs}"]
        if self._options.stage and _reads_no_images(self.plan):
            lines.append("note: these runs read no images from a disk; there is nothing to stage")
        return lines

    @property
    def active(self) -> bool:
        return False

    def poll(self) -> None:
        """Do nothing: each task of an array is a launcher on its node."""

    def take_reports(self) -> list[str]:
        return []

    def stop(self, at_once: bool = False) -> None:
        """Remove the jobs that train this plan's runs from the queue; Slurm ends running ones."""
        cancel(filter(None, (_job_of(run_dir) for stack in self.plan.stacks for run_dir in stack)))


def read_request(typed: Sequence[str], before: Sequence[str] = ()) -> SlurmRequest:
    """Return the request as typed now, with the options of `before` as defaults. Raises ConfigError."""
    return SlurmRequest.of(typed, before)


def fit(request: SlurmRequest) -> SlurmRequest:
    """Adjust a request to the limits of the cluster. Raises LaunchError."""
    return fit_to_cluster(request)


def launcher_of(
    dirs: Sequence[RunDir],
    request: SlurmRequest,
    runs_dir: Path,
    retries: int,
    runs_per_worker: int | None,
    specs: Mapping[RunDir, Spec] | None = None,
) -> ClusterLauncher:
    """Plan the arrays of some runs. Raises LaunchError if Slurm cannot use the path of their directory."""
    return SlurmLauncher(plan_tasks(dirs, request.options, runs_per_worker, specs), request, runs_dir, retries)


def plan_tasks(
    dirs: Sequence[RunDir],
    options: SlurmOptions,
    runs_per_worker: int | None,
    specs: Mapping[RunDir, Spec] | None = None,
) -> Plan:
    """Plan the runs of each task: ten for each of its GPUs, else an efficient stack for each CPU; each has a worker."""
    devices = [f"cuda:{number}" for number in range(options.gpus)] or ["cpu"] * options.cpus
    number = len(devices)
    size = runs_per_worker or (RUNS_ON_A_GPU if options.gpus else 1)
    sizes = {}
    if specs and not options.gpus and not runs_per_worker:
        sizes = {stack_key(spec): number * runs_that_pay(spec) for spec in dict.fromkeys(specs.values())}
    return plan_runs(dirs, Resources(devices, max(1, options.cpus // number), size * number, sizes=sizes), specs)


def stage_option(directory: str) -> str:
    """Return the option that copies the images to a directory of each node. Raises ValueError."""
    return f"stage={stage_directory(directory)}"


def release_held(jobs: Iterable[str]) -> list[str]:
    """Release those jobs that are held; return their arrays. Raises LaunchError with the command to type."""
    scheduler: jobs_of_runs.Scheduler = Scheduler()
    held = set()
    for name in jobs:
        with suppress(LookupError):
            if (job := scheduler.job(name)) and job.is_held:
                held.add(name.partition("_")[0])
    release(held)
    return sorted(held)


def _job_of(run_dir: RunDir) -> str:
    with suppress(OSError, StoreError):
        return run_dir.read_status().job or ""
    return ""


def _reads_no_images(plan: Plan) -> bool:
    """Whether no run of a plan reads images from a disk."""
    return all(stack[0].read_spec().get("dataset", "synthetic") == "synthetic" for stack in plan.stacks)
