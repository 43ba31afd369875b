"""Cluster jobs that train runs: what the scheduler reports, and the resulting state of a run.

The run directory wins if it disagrees with the scheduler. A scheduler that is missing or does not answer adds
nothing. This module knows no scheduler by name: a scheduler's module is loaded when a run has a job.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast

from lop_engine.runs.records import ENDED, RunStatus, State

#: The package of each launcher that submits jobs, by its name for `--launcher`. It has a module ``jobs`` with a
#: `Scheduler` of that name, and a module ``launcher`` that implements `lop_engine.launch.launcher.Cluster`.
CLUSTERS: Mapping[str, str] = {"slurm": "lop_engine.launch.slurm"}


@dataclass(frozen=True)
class Job:
    """A job, or a task of a job array, as its scheduler reports it."""

    state: str
    """The scheduler's state: ``PENDING``, ``OUT_OF_MEMORY`` ..."""
    phase: Literal["waiting", "at work", "killed", "ended"]
    """``killed``: by the scheduler itself; ``ended``: in any other way."""
    reason: str = ""
    """Reason for waiting."""
    node: str = ""
    is_held: bool = False
    """Whether it waits to be released."""
    advice: str = ""
    """What to do about it: `` (... lets it go)``."""


class Scheduler(Protocol):
    """Interface of a cluster's scheduler. It caches answers for some seconds."""

    @property
    def title(self) -> str:
        """Name in messages."""

    @property
    def answer_age_s(self) -> float:
        """Seconds since the last query."""

    def job(self, name: str) -> Job | None:
        """Return a job; None if the scheduler no longer knows it. Raises LookupError if it does not answer."""

    def own_job(self) -> str | None:
        """Return the batch job that this process belongs to; None outside of jobs, and in an interactive shell."""

    def allocation(self) -> str:
        """Return the job whose cores and GPUs this process may use, interactive ones included; "" outside of jobs."""

    def log_of(self, runs_dir: Path, job: str) -> Path:
        """Return the log of a job, which may show why it ended before it had a worker."""


def scheduler() -> Scheduler:
    """Return the scheduler whose jobs train runs, with an empty cache.

    A status does not name the kind of scheduler, because there is only one so far.
    """
    [package] = CLUSTERS.values()
    return cast(Scheduler, import_module(f"{package}.jobs").Scheduler())


def own_job() -> str | None:
    """Return the batch job that this process belongs to, see `Scheduler.own_job`."""
    return scheduler().own_job()


def has_job(status: RunStatus, scheduler: Scheduler) -> bool:
    """Whether a job other than this process's trains, or will train, an unfinished run."""
    if status.state in ENDED or not status.job or status.job == scheduler.own_job():
        return False
    # A running job ignores runs that failed or were stopped in it; it resumes them when it is started again.
    phases = ("waiting", "at work") if status.state in ("queued", "running") else ("waiting",)
    with suppress(LookupError):
        job = scheduler.job(status.job)
        return job is not None and job.phase in phases
    return False


def judge(
    state: State, status: RunStatus, scheduler: Scheduler, status_age_s: float = float("inf")
) -> tuple[State, str | None]:
    """Return the state of one of the user's runs, and a note on its job.

    Args:
        state: the state in the run directory.
        status_age_s: seconds since the status was written.
    """
    if not status.job or state not in ("queued", "running", "lost", "failed"):
        return state, None
    try:
        job = scheduler.job(status.job)
    except LookupError:
        return state, None
    if state == "failed":  # as the worker or its launcher reported
        return state, f"job {status.job} ended: {job.state}" if job and job.phase == "killed" else None
    if state == "running" and status_age_s - status.heartbeat_every_s <= scheduler.answer_age_s:
        return state, None  # what the worker reports is newer
    if job is None:
        return ("lost", f"job {status.job} is gone from the queue") if state == "queued" else (state, None)
    if job.phase == "waiting":
        return "queued", f"job {status.job} waits: {job.reason or job.state}{job.advice}"
    if job.phase == "at work":
        return state, f"job {status.job} is on {job.node}" if state == "queued" else None
    return "lost", f"job {status.job} ended: {job.state}"
