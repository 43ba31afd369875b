"""From a plan to job arrays in Slurm's queue."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lop_engine.errors import LaunchError, StoreError
from lop_engine.launch.plan import Plan
from lop_engine.launch.slurm.options import SlurmRequest
from lop_engine.rundir import RunDir, find_runs
from lop_engine.scheduler import HELD, JOB_NAME

#: Slurm's own limit is 1001 tasks an array unless a cluster sets another: larger plans become several arrays.
TASKS_PER_ARRAY = 1000
#: A run goes on as often as its time is over: days of training in pieces of hours.
_ANY_NUMBER = 10**6
_PATIENCE_S = 60
#: What a job that submits others must not hand on to them: they would take its name for theirs.
_JOB_NUMBER = re.compile(r"[0-9][0-9_+]*")
_OF_A_JOB = re.compile(r"SLURM_(JOB|ARRAY|RESTART)")
#: In place of the batch shell, so that the signal that names the time is this process's alone (``B:``). A job step
#: (srun) would hand it, and the signal of a pre-emption, to the worker as well, which would stop without being asked.
_PYTHON = f"exec {shlex.quote(sys.executable)} -P"
#: A warning in the seconds before Python listens would kill the job; a pre-emption then still ends in a requeue.
_UNTIL_READY = "trap '' USR2"


class Submission:
    """The arrays of a plan: a task a stack.

    Args:
        request: what to ask Slurm for.
        runs_dir: on a file system that the compute nodes share; submitit's files go to ``.slurm`` below it.
        retries: how often a run whose worker died is tried again on its node.
    """

    def __init__(self, plan: Plan, request: SlurmRequest, runs_dir: Path, retries: int) -> None:
        self.plan, self.request, self.retries = plan, request, retries
        self.options = request.options
        self.folder = runs_dir.absolute() / ".slurm"
        if strange := re.search(r"[%\\\n]", str(self.folder)):
            raise LaunchError(f"{runs_dir}: Slurm reads {strange[0]!r} in a path as its own; choose another --runs-dir")
        stacks = plan.stacks
        self.arrays = [stacks[i : i + TASKS_PER_ARRAY] for i in range(0, len(stacks), TASKS_PER_ARRAY)]

    def script(self, num_tasks: int) -> str:
        """The sbatch script of an array of so many tasks. Raises LaunchError if submitit is not installed."""
        with _submitit_or_advice():
            from submitit.slurm.slurm import _make_sbatch_string
        count = num_tasks if num_tasks > 1 else None
        command = f"{_PYTHON} -u -m submitit.core._submit {shlex.quote(str(self.folder))}"
        text: str = _make_sbatch_string(command=command, folder=self.folder, map_count=count, **self._parameters())
        return text

    def check(self) -> None:
        """Ask Slurm whether it would take the array, and submit nothing. Raises LaunchError with Slurm's reason."""
        if shutil.which("sbatch") is None:
            raise LaunchError(
                "there is no sbatch here; type this on a login node of the cluster, or train here with --launcher local"
            )
        script = self.script(len(self.arrays[0]) if self.arrays else 1)
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(script)
            file.flush()
            answer = _run("sbatch", "--test-only", file.name)
        if answer.returncode:
            raise LaunchError(f"--launcher slurm: {_reason(answer.stderr)} ({self.options_in_words()})")

    def submit(self) -> list[str]:
        """Submit the arrays, and note in each queued run the job that will train it; return the arrays' job numbers.

        The jobs are held until that is written: a job that starts at once would else be told about too late.

        Raises:
            LaunchError: Slurm did not take one; says which are in the queue.
        """
        with _submitit_or_advice():
            import submitit
            from submitit.core.utils import FailedJobError, FailedSubmissionError

            from lop_engine.launch.slurm.task import ArrayTask
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers: list[str] = []
        for stacks in self.arrays:
            executor = submitit.SlurmExecutor(self.folder, max_num_timeout=_ANY_NUMBER, python=_PYTHON)
            executor.update_parameters(**self._parameters(hold=True))
            resources = self.plan.resources
            try:
                with _outside_of_a_job(), executor.batch():
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
                so_far = f"; in the queue are {self._in_words(numbers)}: lop resume submits the rest" if numbers else ""
                raise LaunchError(f"--launcher slurm: {_reason(str(error))}{so_far}") from None
            for stack, job in zip(stacks, jobs, strict=True):
                for run_dir in stack:
                    run_dir.write_status(replace(run_dir.read_status(), job=job.job_id))
            numbers.append(jobs[0].job_id.partition("_")[0])
            release(numbers[-1:])
        return numbers

    def left_behind(self) -> list[str]:
        """Arrays that are held for these runs and train none of them: their submission was cut off."""
        with suppress(LaunchError):
            answer = _run("squeue", "--me", "-h", "-t", "pending", "-o", "%F|%r|%k")
            rows = [row for line in answer.stdout.splitlines() if len(row := line.split("|", 2)) == 3]
            held = {job for job, reason, comment in rows if reason == HELD and comment == str(self.folder)}
            return sorted(held - {_array(run_dir) for run_dir in find_runs(self.folder.parent)} if held else [])
        return []

    def _in_words(self, numbers: Sequence[str]) -> str:
        runs = sum(len(stack) for stacks in self.arrays[: len(numbers)] for stack in stacks)
        return f"{runs} runs as {', '.join(f'job {number}' for number in numbers)}"

    def options_in_words(self) -> str:
        """``partition=gpu time=1440 gpus=1``: what was asked for."""
        given = self.options.model_dump(exclude_defaults=True, exclude={"setup"})
        return " ".join(f"{key}={value}" for key, value in given.items()) or "nothing but defaults asked for"

    def _parameters(self, hold: bool = False) -> dict[str, Any]:
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
            "array_parallelism": options.array_parallelism,
            "setup": [_UNTIL_READY, *options.setup],
            "stderr_to_stdout": True,
            "comment": str(self.folder),
            "additional_parameters": {name: value for name, value in more.items() if value is not None},
        }
        return {"wckey": None, **{name: value for name, value in parameters.items() if value is not None}}


def release(jobs: Iterable[str]) -> None:
    """Let held jobs go. Raises LaunchError with what to type."""
    for job in sorted(set(jobs)):
        for turn in range(3):
            time.sleep(turn)
            answer = _run("scontrol", "release", job)
            if not answer.returncode:
                break
        else:
            raise LaunchError(
                f"job {job} is held in the queue: {_reason(answer.stderr)}; scontrol release {job} lets it go"
            )


def cancel(jobs: Iterable[str]) -> None:
    """Take jobs out of Slurm's queue; one that is gone already is no matter.

    Job numbers come from status files: what is not a number could be an option of scancel, and is left alone.
    """
    names = sorted({job for job in jobs if _JOB_NUMBER.fullmatch(job)})
    if names:
        with suppress(LaunchError):
            _run("scancel", *names)


def _array(run_dir: RunDir) -> str:
    with suppress(OSError, StoreError):
        return (run_dir.read_status().job or "").partition("_")[0]
    return ""


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """What sbatch hands on to a job is the environment that it is called in."""
    own = {name: value for name, value in os.environ.items() if _OF_A_JOB.match(name)}
    for name in own:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(own)


def _paths(stack: Iterable[RunDir]) -> list[str]:
    return [str(run_dir.path.absolute()) for run_dir in stack]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except FileNotFoundError:
        raise LaunchError(f"there is no {command[0]} here; type this on a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{command[0]} did not answer for {_PATIENCE_S} seconds") from None


def _reason(said: str) -> str:
    """The line that says why, out of what sbatch said."""
    lines = [re.sub(r"^(sbatch|scontrol|allocation failure)?:?\s*(error:)?\s*", "", line) for line in said.splitlines()]
    return next((line for line in lines if line.strip()), "Slurm said nothing")


@contextmanager
def _submitit_or_advice() -> Iterator[None]:
    """Turn a missing submitit into advice."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "submitit":
            raise LaunchError('--launcher slurm needs submitit: pip install "lop[slurm]"') from None
        raise
