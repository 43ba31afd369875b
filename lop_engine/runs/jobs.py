"""Jobs of a cluster that train runs: what their scheduler says of them, and the state that a run then has.

The run directory wins where it disagrees with the scheduler. A scheduler that is missing or does not answer adds
nothing. Readers of runs know no scheduler by name: its module is loaded when a run has a job.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast

from lop_engine.runs.records import ENDED, RunStatus, State

#: By the name that `--launcher` takes, the package of a launcher that submits jobs. It has a module ``jobs`` with a
#: `Scheduler` of that name, and a module ``launcher`` with what `lop_engine.launch.launcher.Cluster` asks for.
CLUSTERS: Mapping[str, str] = {"slurm": "lop_engine.launch.slurm"}


@dataclass(frozen=True)
class Job:
    """One job, or one task of a job array, as its scheduler sees it."""

    state: str
    """The scheduler's word: ``PENDING``, ``OUT_OF_MEMORY`` ..."""
    phase: Literal["waiting", "at work", "killed", "ended"]
    """``killed`` by the scheduler itself; ``ended`` in any other way."""
    reason: str = ""
    """Why it waits."""
    node: str = ""
    is_held: bool = False
    """Whether it waits until somebody releases it."""
    advice: str = ""
    """What to do about it: `` (... lets it go)``."""


class Scheduler(Protocol):
    """What is asked of the scheduler of a cluster. It remembers answers for some seconds."""

    @property
    def title(self) -> str:
        """Its name in messages."""

    @property
    def answer_age_s(self) -> float:
        """Seconds since it was asked."""

    def job(self, name: str) -> Job | None:
        """A job; None if the scheduler no longer knows it. Raises LookupError if it does not answer."""

    def own_job(self) -> str | None:
        """The name of the batch job that this process belongs to; None outside of jobs, and in an interactive shell."""

    def allocation(self) -> str:
        """What the job is called whose cores and GPUs this process may use, also in an interactive shell; or empty."""

    def log_of(self, runs_dir: Path, job: str) -> Path:
        """The log of a job: why it ended before it had a worker."""


def scheduler() -> Scheduler:
    """The scheduler whose jobs train runs; a new one, which has not asked anything yet.

    A status does not say whose job it names, because there is one kind so far.
    """
    [package] = CLUSTERS.values()
    return cast(Scheduler, import_module(f"{package}.jobs").Scheduler())


def own_job() -> str | None:
    """The name of the batch job that this process belongs to, see `Scheduler.own_job`."""
    return scheduler().own_job()


def has_job(status: RunStatus, scheduler: Scheduler) -> bool:
    """Whether a job other than this process's trains, or will train, a run that has not ended."""
    if status.state in ENDED or not status.job or status.job == scheduler.own_job():
        return False
    # A job at work leaves alone what failed or was stopped in it; it takes that up when it is started again.
    phases = ("waiting", "at work") if status.state in ("queued", "running") else ("waiting",)
    with suppress(LookupError):
        job = scheduler.job(status.job)
        return job is not None and job.phase in phases
    return False


def judge(
    state: State, status: RunStatus, scheduler: Scheduler, status_age_s: float = float("inf")
) -> tuple[State, str | None]:
    """The state of one of the user's runs, and what to say of its job.

    Args:
        state: as the run directory has it.
        status_age_s: seconds since the status was written.
    """
    if not status.job or state not in ("queued", "running", "lost", "failed"):
        return state, None
    try:
        job = scheduler.job(status.job)
    except LookupError:
        return state, None
    if state == "failed":  # by the worker's own word, or by what its launcher saw of it
        return state, f"job {status.job} ended: {job.state}" if job and job.phase == "killed" else None
    if state == "running" and status_age_s - status.heartbeat_every_s <= scheduler.answer_age_s:
        return state, None  # what the worker says itself is newer
    if job is None:
        return ("lost", f"job {status.job} is gone from the queue") if state == "queued" else (state, None)
    if job.phase == "waiting":
        return "queued", f"job {status.job} waits: {job.reason or job.state}{job.advice}"
    if job.phase == "at work":
        return state, f"job {status.job} is on {job.node}" if state == "queued" else None
    return "lost", f"job {status.job} ended: {job.state}"
