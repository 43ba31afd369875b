"""What Slurm knows of the jobs that train runs: asked seldom, and believed second, after the run directories.

A scheduler that is not there, or does not answer, hides nothing: then there is nothing to add.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from lop_engine.records import RunStatus, State

ASK_EVERY_S = 15.0
PATIENCE_S = 10.0

#: States of a job that waits, or waits again.
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT"})
_AT_WORK = frozenset({"RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED"})


@dataclass(frozen=True)
class Job:
    """One task of a job array, as the scheduler sees it."""

    state: str
    """Slurm's word: ``PENDING``, ``RUNNING``, ``OUT_OF_MEMORY`` ..."""
    reason: str = ""
    """Why it waits."""
    node: str = ""


class Scheduler:
    """Asks squeue once for all jobs of the user, at most every 15 seconds; and sacct of those it no longer knows."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] | None = None
        self._asked_at = float("-inf")
        self.looked_at = 0.0
        """When the answer was given, Unix seconds."""
        self._gone: dict[str, Job] = {}

    def job(self, name: str) -> Job | None:
        """The job, None if the scheduler no longer knows it. Raises LookupError if there is no answer."""
        if time.monotonic() - self._asked_at > ASK_EVERY_S:
            self._asked_at, self.looked_at = time.monotonic(), time.time()
            self._jobs = _ask_squeue()
        if self._jobs is None:
            raise LookupError
        if name in self._jobs:
            return self._jobs[name]
        if name not in self._gone and (ended := _ask_sacct(name)):
            self._gone[name] = ended
        return self._gone.get(name)


def own_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The name of the job that this process belongs to, ``123_4`` in an array."""
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '0')}"
    return environment.get("SLURM_JOB_ID")


def judge(state: State, status: RunStatus, scheduler: Scheduler) -> tuple[State, str | None]:
    """The state of a run of a job, and what to say of it.

    Args:
        state: as the run directory has it.
    """
    if not status.job or state not in ("queued", "running", "lost"):
        return state, None
    try:
        job = scheduler.job(status.job)
    except LookupError:
        return state, None
    if state == "running" and (status.heartbeat_at or 0) + status.heartbeat_every_s >= scheduler.looked_at:
        return state, None  # what the worker says itself is newer
    if job is None:
        return ("lost", f"job {status.job} is gone from the queue") if state == "queued" else (state, None)
    if job.state in _WAITING:
        return "queued", f"job {status.job} waits: {job.reason or job.state}"
    if job.state in _AT_WORK:
        return state, f"job {status.job} is on {job.node}" if state == "queued" else None
    return "lost", f"job {status.job} ended: {job.state}"


def _ask_squeue() -> dict[str, Job] | None:
    lines = _ask("squeue", "--me", "-h", "-r", "-t", "all", "-o", "%i|%T|%r|%N")
    if lines is None:
        return None
    rows = [line.split("|", 3) for line in lines]
    return {name: Job(state, reason, node) for name, state, reason, node in (row for row in rows if len(row) == 4)}


def _ask_sacct(name: str) -> Job | None:
    for line in _ask("sacct", "-X", "-n", "-P", "-j", name, "-o", "State,NodeList") or []:
        state, _, node = line.partition("|")
        if state:
            return Job(state.split()[0], "", node)  # "CANCELLED by 1000"
    return None


def _ask(*command: str) -> list[str] | None:
    """The lines that a command prints; None if it is not there, fails or is silent for too long."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
