"""Submits a plan as job arrays to Slurm's queue."""

import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lop_engine.errors import LaunchError, StoreError
from lop_engine.extras import install_hint
from lop_engine.launch.claims import is_ours
from lop_engine.launch.plan import Plan
from lop_engine.launch.slurm.jobs import HELD, JOB_NAME, folder_of
from lop_engine.launch.slurm.limits import reason
from lop_engine.launch.slurm.limits import run as _run
from lop_engine.launch.slurm.options import SlurmRequest
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.locks import hold

#: Slurm allows 1001 tasks per array unless a cluster sets another limit.
TASKS_PER_ARRAY = 1000
#: Error of sbatch --test-only if no node of the partition can ever start the job.
_NO_NODE = "node configuration is not available"
#: A run is requeued whenever its time is over: days of training in pieces of hours.
_ANY_NUMBER = 10**6
#: Names of jobs as Slurm writes them: ``123``, ``123_4``.
_JOB_NUMBER = re.compile(r"[0-9][0-9_+]*")
#: sbatch passes these to the job, which would mistake the submitting job or step for its own.
_OF_A_JOB = re.compile(r"SLURM(D|_(?!CONF|CLUSTERS))|SUBMITIT|LOP_JOB")
#: A user's defaults, which override the script in sbatch: dropped if the script sets the same option.
_DEFAULTS = {
    "SBATCH_PARTITION": "partition",
    "SBATCH_ACCOUNT": "account",
    "SBATCH_QOS": "qos",
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_MEM_PER_NODE": "memory",
    "SBATCH_GPUS_PER_NODE": "gpus",
}
_NEVER_DEFAULTS = ("SBATCH_TIMELIMIT", "SBATCH_SIGNAL", "SBATCH_ARRAY_INX", "SBATCH_JOB_NAME", "SBATCH_NO_REQUEUE")
#: Replaces the batch shell, so that only this process gets the signal before the time limit (``B:``). A job step
#: (srun) would pass it, and the signal of a pre-emption, to the worker as well, which would stop without being asked.
_PYTHON = f"exec {shlex.quote(sys.executable)} -P"
#: A warning in the seconds before Python handles it would kill the job; a pre-emption then still ends in a requeue.
_UNTIL_READY = "trap '' USR2"


class Submission:
    """The arrays of a plan, with a task per stack.

    Args:
        request: the resources to request from Slurm.
        runs_dir: on a file system that the compute nodes share; submitit's files go to `folder_of` it.
        retries: how often a run is retried on its node after its worker died.
    """

    def __init__(self, plan: Plan, request: SlurmRequest, runs_dir: Path, retries: int) -> None:
        self.plan, self.request, self.retries = plan, request, retries
        self.options = request.options
        self.folder = folder_of(runs_dir.absolute())
        if strange := re.search(r"[%\\\n]", str(self.folder)):
            raise LaunchError(f"{runs_dir}: Slurm reads {strange[0]!r} in a path; choose another --runs-dir")
        stacks, size = plan.stacks, request.tasks_per_array or TASKS_PER_ARRAY
        self.arrays = [stacks[i : i + size] for i in range(0, len(stacks), size)]

    def script(self, array: int = 0) -> str:
        """Return the sbatch script of the array of this number. Raises LaunchError if submitit is not installed."""
        with _submitit_or_advice():
            from submitit.slurm.slurm import _make_sbatch_string
        count = len(self.arrays[array])
        command = f"{_PYTHON} -u -m submitit.core._submit {shlex.quote(str(self.folder))}"
        text: str = _make_sbatch_string(
            command=command, folder=self.folder, map_count=count if count > 1 else None, **self._parameters(array)
        )
        return text

    def check(self) -> None:
        """Ask Slurm whether it would accept the array, without submitting. Raises LaunchError with Slurm's reason."""
        if shutil.which("sbatch") is None:
            raise LaunchError(
                "sbatch: command not found; run lop on a login node of the cluster, or train here with --launcher local"
            )
        script = self.script()
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(script)
            file.flush()
            with self._environment_of_sbatch():
                answer = _run("sbatch", "--test-only", file.name)
        if answer.returncode and not (self.request.waits_for_nodes and _NO_NODE in answer.stderr):
            raise LaunchError(f"--launcher slurm: {reason(answer.stderr)} ({self.options_in_words()})")

    def submit(self) -> list[str]:
        """Submit the arrays, and record the job of each queued run in its status; return the arrays' job numbers.

        The jobs are held until that is written: a job that starts at once would otherwise not find its runs.

        Raises:
            LaunchError: Slurm refused one; says which are in the queue.
        """
        with _submitit_or_advice():
            import submitit
            from submitit.core.utils import FailedJobError, FailedSubmissionError

            from lop_engine.launch.slurm.task import ArrayTask
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers: list[str] = []
        for array, stacks in enumerate(self.arrays):
            executor = submitit.SlurmExecutor(self.folder, max_num_timeout=_ANY_NUMBER, python=_PYTHON)
            executor.update_parameters(**self._parameters(array, hold=True))
            resources = self.plan.resources
            try:
                with self._environment_of_sbatch(), executor.batch():
                    jobs = [
                        executor.submit(
                            ArrayTask(
                                _paths(stack),
                                resources.devices,
                                resources.threads,
                                self.retries,
                                self.options.stage,
                            )
                        )
                        for stack in stacks
                    ]
            except (FailedJobError, FailedSubmissionError) as error:
                so_far = f"; in the queue: {self._in_words(numbers)}: lop resume submits the rest" if numbers else ""
                raise LaunchError(f"--launcher slurm: {reason(str(error))}{so_far}") from None
            for stack, job in zip(stacks, jobs, strict=True):
                for run_dir in stack:
                    _leave_to_job(run_dir, job.job_id)
            numbers.append(jobs[0].job_id.partition("_")[0])
            release(numbers[-1:])
        return numbers

    def left_behind(self) -> list[str]:
        """Return arrays that are held for these runs and train none of them: their submission was interrupted."""
        with suppress(LaunchError):
            answer = _run("squeue", "--me", "-h", "-t", "pending", "-o", "%F|%r|%k")
            rows = [row for line in answer.stdout.splitlines() if len(row := line.split("|", 2)) == 3]
            held = {job for job, reason, comment in rows if reason == HELD and comment == str(self.folder)}
            return sorted(held - {_array(run_dir) for run_dir in find_runs(self.folder.parent)} if held else [])
        return []

    @contextmanager
    def _environment_of_sbatch(self) -> Iterator[None]:
        """Return the environment without variables that sbatch would pass to the jobs, or prefer to the script."""
        defaults = {*_NEVER_DEFAULTS, *(name for name, key in _DEFAULTS.items() if getattr(self.options, key))}
        names = [name for name in os.environ if name in defaults or _OF_A_JOB.match(name)]
        left_out = {name: os.environ.pop(name) for name in names}
        try:
            yield
        finally:
            os.environ.update(left_out)

    def _in_words(self, numbers: Sequence[str]) -> str:
        runs = sum(len(stack) for stacks in self.arrays[: len(numbers)] for stack in stacks)
        return f"{runs} run{'s' * (runs != 1)} as {', '.join(f'job {number}' for number in numbers)}"

    def options_in_words(self) -> str:
        """Return the requested options: ``partition=gpu time=1440 gpus=1``."""
        given = self.options.model_dump(exclude_defaults=True, exclude={"setup"})
        return " ".join(f"{key}={value}" for key, value in given.items()) or "only default options"

    def _at_once(self, array: int) -> int:
        """Return the tasks of an array that may run at once, so that all arrays respect `array_parallelism`."""
        return max(1, self.options.array_parallelism * len(self.arrays[array]) // len(self.plan.stacks))

    def _parameters(self, array: int, hold: bool = False) -> dict[str, Any]:
        options = self.options
        warning = f"B:USR2@{options.grace}"
        more = {"mem": options.memory, "requeue": True, "signal": warning, "hold": hold or None}
        parameters = {
            "job_name": JOB_NAME,
            "partition": options.partition,
            "account": options.account,
            "qos": options.qos,
            "constraint": options.constraint,
            "time": options.time,
            "cpus_per_task": options.cpus,
            "gpus_per_node": options.gpus or None,
            "use_srun": False,
            "array_parallelism": self._at_once(array),
            "setup": [_UNTIL_READY, *options.setup],
            "stderr_to_stdout": True,
            "comment": str(self.folder),
            "additional_parameters": {name: value for name, value in more.items() if value is not None},
        }
        return {"wckey": None, **{name: value for name, value in parameters.items() if value is not None}}


def release(jobs: Iterable[str]) -> None:
    """Release held jobs. Raises LaunchError with the command to type."""
    for job in sorted(set(jobs)):
        for turn in range(3):
            time.sleep(turn)
            answer = _run("scontrol", "release", job)
            if not answer.returncode:
                break
        else:
            raise LaunchError(f"job {job} is held in the queue: {reason(answer.stderr)}; run scontrol release {job}")


def cancel(jobs: Iterable[str]) -> None:
    """Remove jobs from Slurm's queue; jobs that are already gone are ignored.

    Job numbers come from status files. Anything that is not a number is ignored, as it could be an option of scancel.
    """
    names = sorted({job for job in jobs if _JOB_NUMBER.fullmatch(job)})
    if names:
        with suppress(LaunchError):
            _run("scancel", *names)


def _leave_to_job(run_dir: RunDir, job: str) -> None:
    """Record the job that will train a run, unless it has been stopped in the meantime."""
    with hold(run_dir):
        status = run_dir.read_status()
        if is_ours(status):
            run_dir.write_status(replace(status, job=job, launcher=None))


def _array(run_dir: RunDir) -> str:
    with suppress(OSError, StoreError):
        return (run_dir.read_status().job or "").partition("_")[0]
    return ""


def _paths(stack: Iterable[RunDir]) -> list[str]:
    return [str(run_dir.path.absolute()) for run_dir in stack]


@contextmanager
def _submitit_or_advice() -> Iterator[None]:
    """Turn a missing submitit into advice."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "submitit":
            raise LaunchError(f"--launcher slurm needs submitit: {install_hint('slurm')}") from None
        raise
