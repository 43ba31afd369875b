"""`--detach`: the command that was typed, once more, in a session of its own, takes over the runs just queued."""

import os
import subprocess
import sys
from pathlib import Path

from lop_engine.errors import LaunchError
from lop_engine.processes import this_process
from lop_tui.commands.console import Console, in_runs_dir, say

#: Tells a launcher in the background who has queued its runs, and on which descriptor that process waits until they
#: are taken over: ``<descriptor> <token>``.
_DETACHED = "LOP_DETACHED"


def handed_over() -> str | None:
    """Token of the process that has queued runs for this one; None unless this is a launcher in the background."""
    return os.environ.get(_DETACHED, "").partition(" ")[2] or None


def say_taken() -> None:
    """Let the process that has queued our runs end: they are in our queue now. Does nothing in the foreground."""
    if handed_over():
        descriptor = int(os.environ[_DETACHED].partition(" ")[0])
        os.write(descriptor, b"taken")
        os.close(descriptor)


def detach(console: Console, runs_dir: Path) -> int:
    """Start the command that was typed in a session of its own, and wait until it has taken over our runs. Return 0.

    Raises:
        LaunchError: it ended before it had.
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
            raise LaunchError(f"the process that should train in the background ended at once; see {log_path}")
    say(console, f"training in the background (process {child.pid}, log {log_path})")
    say(console, f"follow it: lop watch{in_runs_dir(runs_dir)}    stop it: lop stop{in_runs_dir(runs_dir)}")
    return 0
