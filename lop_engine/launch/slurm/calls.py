"""Calls of Slurm's commands."""

import re
import subprocess

from lop_engine.errors import LaunchError

_PATIENCE_S = 60


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm, whatever its exit status. Raises LaunchError if it is missing or does not answer."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except FileNotFoundError:
        raise LaunchError(f"{command[0]}: command not found; run lop on a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{command[0]} did not answer within {_PATIENCE_S} seconds") from None


def reason(output: str) -> str:
    """Return the line of a command's output that says why it failed."""
    lines = [
        re.sub(r"^(sbatch|scontrol|allocation failure)?:?\s*(error:)?\s*", "", line) for line in output.splitlines()
    ]
    return next((line for line in lines if line.strip()), "Slurm gave no reason")
