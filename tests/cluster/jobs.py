"""Jobs of the Slurm that `slurm.sh` starts: hand them in, ask for their state, wait for it."""

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence

#: States of a job that Slurm is not done with.
UNFINISHED = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED"}


def slurm(*command: object) -> str:
    """What a command of Slurm prints; fails with what it says if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"
    return done.stdout


def submit(command: Sequence[object], *options: object) -> str:
    """Hand in a job that runs `command`; return its number."""
    return slurm("sbatch", "--parsable", *options, "--wrap", shlex.join(map(str, command))).strip()


def state_of(job: str) -> str:
    """As Slurm calls it: PENDING, RUNNING, COMPLETED, ..."""
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


def wait_for(condition: Callable[[], object], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def wait_until_ended(job: str, limit_s: float = 60) -> str:
    """Wait for a job that is not an array; return its last state."""
    wait_for(lambda: state_of(job) not in UNFINISHED, limit_s)
    return state_of(job)
