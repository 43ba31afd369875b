"""What Slurm knows of the jobs that train runs: asked seldom, and believed second, after the run directories.

A scheduler that is not there, or does not answer, hides nothing: then there is nothing to add.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from lop_engine.runs.records import ENDED, RunStatus, State

ASK_EVERY_S = 15.0
ASK_THE_BOOKS_EVERY_S = 60.0
PATIENCE_S = 5.0
#: After it has not answered in that time.
ASK_AGAIN_S = 300.0
#: By this sacct knows ours among a user's jobs.
JOB_NAME = "lop"

#: Environment variable that holds the job number, for our array tasks and their workers.
OWN_JOB = "LOP_JOB"

#: States of a job that waits, or waits again.
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT"})
_AT_WORK = frozenset({"RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED"})
#: Why Slurm itself ends a job.
_KILLED = frozenset({"OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"})


HELD = "JobHeldUser"


@dataclass(frozen=True)
class Job:
    """One task of a job array, as the scheduler sees it."""

    state: str
    """Slurm's word: ``PENDING``, ``RUNNING``, ``OUT_OF_MEMORY`` ..."""
    reason: str = ""
    """Why it waits."""
    node: str = ""


class Scheduler:
    """Asks squeue for all jobs of the user, every 15 seconds at most; sacct, every minute, if it has forgotten some."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] | None = None
        self._due_at = float("-inf")
        self._asked_at = float("-inf")
        self._books: dict[str, Job] = {}
        self._asked_books_at = float("-inf")

    @property
    def answer_age_s(self) -> float:
        """Seconds since squeue was asked."""
        return time.monotonic() - self._asked_at

    def job(self, name: str) -> Job | None:
        """The job, None if the scheduler no longer knows it. Raises LookupError if there is no answer."""
        if time.monotonic() > self._due_at:
            self._asked_at = time.monotonic()
            self._jobs = _ask_squeue()
            answered_soon = time.monotonic() - self._asked_at < PATIENCE_S
            self._due_at = self._asked_at + (ASK_EVERY_S if answered_soon else ASK_AGAIN_S)
        if self._jobs is None:
            raise LookupError
        if name in self._jobs:
            return self._jobs[name]
        if name not in self._books and time.monotonic() - self._asked_books_at > ASK_THE_BOOKS_EVERY_S:
            self._asked_books_at = time.monotonic()
            self._books = _ask_sacct()
        return self._books.get(name)


def own_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The name of the batch job that this process belongs to, ``123_4`` in an array.

    None in the interactive shell of a job (``salloc``, ``srun --pty``): runs started there belong to this machine.
    """
    if not _is_batch(environment):
        return None
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '0')}"
    return environment.get("SLURM_JOB_ID")


def mark_own_job() -> None:
    """Record for this process and its children that they belong to one of our jobs, whatever its script has set."""
    os.environ[OWN_JOB] = os.environ.get("SLURM_JOB_ID", "")


def _is_batch(environment: Mapping[str, str]) -> bool:
    """Whether the environment is that of a job's script.

    Slurm sets ENVIRONMENT=BATCH for it, and for the steps that it starts. A shell that ``salloc`` opens on the
    submitting host is not a task of the job and has no SLURM_LOCALID; on other hosts it is a separate step.
    """
    if environment.get(OWN_JOB, "") == environment.get("SLURM_JOB_ID") or environment.get("ENVIRONMENT") == "BATCH":
        return True
    is_task = "SLURM_LOCALID" in environment or "SLURM_ARRAY_TASK_ID" in environment
    return is_task and "SLURM_STEP_ID" not in environment


def has_job(status: RunStatus, scheduler: Scheduler) -> bool:
    """Whether a job other than this process's trains, or will train, a run that has not ended."""
    if status.state in ENDED or not status.job or status.job == own_job():
        return False
    # A job at work leaves alone what failed or was stopped in it; it takes that up when it is started again.
    states = _WAITING | _AT_WORK if status.state in ("queued", "running") else _WAITING
    with suppress(LookupError):
        job = scheduler.job(status.job)
        return job is not None and job.state in states
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
        return state, f"job {status.job} ended: {job.state}" if job and job.state in _KILLED else None
    if state == "running" and status_age_s - status.heartbeat_every_s <= scheduler.answer_age_s:
        return state, None  # what the worker says itself is newer
    if job is None:
        return ("lost", f"job {status.job} is gone from the queue") if state == "queued" else (state, None)
    if job.state in _WAITING:
        advice = f" (scontrol release {status.job} lets it go)" if job.reason == HELD else ""
        return "queued", f"job {status.job} waits: {job.reason or job.state}{advice}"
    if job.state in _AT_WORK:
        return state, f"job {status.job} is on {job.node}" if state == "queued" else None
    return "lost", f"job {status.job} ended: {job.state}"


def _ask_squeue() -> dict[str, Job] | None:
    lines = _ask("squeue", "--me", "-h", "-r", "-t", "all", "-o", "%i|%T|%r|%N")
    if lines is None:
        return None
    rows = [row for line in lines if len(row := line.split("|", 3)) == 4]
    if lines and not rows:
        return None  # not what was asked for
    return {name: Job(state, reason, node) for name, state, reason, node in rows}


def _ask_sacct() -> dict[str, Job]:
    """Jobs of the last month."""
    lines = _ask("sacct", "-X", "-n", "-P", f"--name={JOB_NAME}", "-S", "now-30days", "-o", "JobID,State,NodeList")
    rows = [row for line in lines or [] if len(row := line.split("|")) == 3 and row[1].strip()]
    return {name: Job(state.split()[0], "", node) for name, state, node in rows}  # "CANCELLED by 7"


def _ask(*command: str) -> list[str] | None:
    """The lines that a command prints; None if it is not there, fails or is silent for too long."""
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
