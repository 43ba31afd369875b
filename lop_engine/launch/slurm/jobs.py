"""Cached lookups of jobs by squeue and sacct, and the job that this process belongs to.

A scheduler that is missing, or does not answer, adds nothing to the run directories.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from lop_engine.runs.jobs import Job

ASK_EVERY_S = 15.0
ASK_THE_BOOKS_EVERY_S = 60.0
PATIENCE_S = 5.0
#: Pause after a query without an answer.
ASK_AGAIN_S = 300.0
#: Comment by which sacct finds our jobs among a user's.
JOB_NAME = "lop"

#: Environment variable that holds the job number, for our array tasks and their workers.
OWN_JOB = "LOP_JOB"

#: States of a waiting job.
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT"})
_AT_WORK = frozenset({"RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED"})
#: States of jobs that Slurm itself ended.
_KILLED = frozenset({"OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"})


#: Reason of a job that is held until it is released.
HELD = "JobHeldUser"


class Scheduler:
    """Queries squeue for all jobs of the user, at most every 15 seconds; and sacct, every minute, for older ones."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] | None = None
        self._due_at = float("-inf")
        self._asked_at = float("-inf")
        self._books: dict[str, Job] = {}
        self._asked_books_at = float("-inf")

    @property
    def title(self) -> str:
        return "Slurm"

    @property
    def answer_age_s(self) -> float:
        """Seconds since squeue was asked."""
        return time.monotonic() - self._asked_at

    def job(self, name: str) -> Job | None:
        """Return the job, None if the scheduler no longer knows it. Raises LookupError if there is no answer."""
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

    def own_job(self) -> str | None:
        return own_job()

    def allocation(self) -> str:
        return os.environ.get("SLURM_JOB_ID", "")

    def log_of(self, runs_dir: Path, job: str) -> Path:
        return folder_of(runs_dir) / f"{job}_0_log.out"


def folder_of(runs_dir: Path) -> Path:
    """Return submitit's folder for the runs of a directory."""
    return runs_dir / ".slurm"


def own_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the batch job that this process belongs to, ``123_4`` in an array.

    None in the interactive shell of a job (``salloc``, ``srun --pty``): runs started there belong to this machine.
    """
    if not _is_batch(environment):
        return None
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '0')}"
    return environment.get("SLURM_JOB_ID")


def mark_own_job() -> None:
    """Record for this process and its children that they belong to one of our jobs, whatever its script sets."""
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


def _job(name: str, state: str, reason: str = "", node: str = "") -> Job:
    is_held = reason == HELD
    advice = f" (run scontrol release {name})" if is_held else ""
    return Job(state, _phase(state), reason, node, is_held, advice)


def _phase(state: str) -> Literal["waiting", "at work", "killed", "ended"]:
    if state in _WAITING:
        return "waiting"
    if state in _AT_WORK:
        return "at work"
    return "killed" if state in _KILLED else "ended"


def _ask_squeue() -> dict[str, Job] | None:
    lines = _ask("squeue", "--me", "-h", "-r", "-t", "all", "-o", "%i|%T|%r|%N")
    if lines is None:
        return None
    rows = [row for line in lines if len(row := line.split("|", 3)) == 4]
    if lines and not rows:
        return None  # an unexpected answer
    return {name: _job(name, state, reason, node) for name, state, reason, node in rows}


def _ask_sacct() -> dict[str, Job]:
    """Return jobs of the last month."""
    lines = _ask("sacct", "-X", "-n", "-P", f"--name={JOB_NAME}", "-S", "now-30days", "-o", "JobID,State,NodeList")
    rows = [row for line in lines or [] if len(row := line.split("|")) == 3 and row[1].strip()]
    return {name: _job(name, state.split()[0], "", node) for name, state, node in rows}  # "CANCELLED by 7"


def _ask(*command: str) -> list[str] | None:
    """Return the lines that a command prints; None if it is missing, fails or takes too long."""
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
