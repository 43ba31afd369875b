"""`--detach`: starts the same command again in a new session, and hands it the queued runs."""

import os
import subprocess
import sys
from pathlib import Path

from lop_engine.errors import LaunchError
from lop_engine.processes import this_process
from lop_tui.words.console import Console, in_runs_dir, say

#: For a background launcher: ``<descriptor> <token>``, the descriptor on which the process that queued its runs waits
#: for the takeover, and the token of that process.
_DETACHED = "LOP_DETACHED"


def handed_over() -> str | None:
    """Return the token of the process that queued runs for this one; None unless this is a background launcher."""
    return os.environ.get(_DETACHED, "").partition(" ")[2] or None


def say_taken() -> None:
    """Tell the process that queued our runs that we have taken them over. Does nothing in the foreground."""
    if handed_over():
        descriptor = int(os.environ[_DETACHED].partition(" ")[0])
        os.write(descriptor, b"taken")
        os.close(descriptor)


def detach(console: Console, runs_dir: Path) -> int:
    """Start the same command in a new session, and wait until it has taken over the runs. Return 0.

    Raises:
        LaunchError: it ended before it took them over.
    """
    arguments = [word for word in sys.argv[1:] if word not in ("--detach", "--fresh", "--watch")]
    log_path = runs_dir / "launcher.log"
    ours, theirs = os.pipe()
    with open(log_path, "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "lop_tui", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {_DETACHED: f"{theirs} {this_process().token}"},
            pass_fds=(theirs,),
        )
    os.close(theirs)
    with open(ours, "rb") as answer:
        if not answer.read():
            raise LaunchError(f"the process to train in the background ended early; see {log_path}")
    say(console, f"training in the background (process {child.pid}, log {log_path})")
    say(console, f"follow it: lop watch{in_runs_dir(runs_dir)}    stop it: lop stop{in_runs_dir(runs_dir)}")
    return 0
