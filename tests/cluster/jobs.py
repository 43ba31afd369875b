"""Submit jobs to the Slurm that `slurm.sh` starts, query their states and wait for them."""

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence

#: States of a job that has not ended.
UNFINISHED = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED"}


def slurm(*command: object) -> str:
    """Run a command of Slurm and return its output; if it fails, fail with its error message."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"
    return done.stdout


def submit(command: Sequence[object], *options: object) -> str:
    """Submit a job that runs `command`; return its number."""
    return slurm("sbatch", "--parsable", *options, "--wrap", shlex.join(map(str, command))).strip()


def state_of(job: str) -> str:
    """Return the state in Slurm's words: PENDING, RUNNING, COMPLETED, ..."""
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


def wait_for(condition: Callable[[], object], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.1)


def wait_until_ended(job: str, limit_s: float = 60) -> str:
    """Wait for a job that is not an array; return its last state."""
    wait_for(lambda: state_of(job) not in UNFINISHED, limit_s)
    return state_of(job)
