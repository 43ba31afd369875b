"""`lop logs`: what a worker has said."""

import time
from pathlib import Path

from lop_engine.errors import LaunchError
from lop_engine.files import open_to_read
from lop_engine.runs.jobs import scheduler
from lop_engine.runs.logs import decode, start_of_last
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.selection import select
from lop_engine.runs.views import RunView
from lop_tui.commands.console import Console, say

POLL_S = 0.3
_CHUNK = 2**16


def show_log(runs_dir: Path, selector: str, lines: int, follow: bool) -> int:
    """Print the end of a run's log, and with `follow` what comes until the run ends. Raises UserError."""
    reader = RunsReader(runs_dir)
    chosen = select(reader.read(), [selector])
    logs = list(dict.fromkeys(view.dir.worker_log(view.status) for view in chosen))
    if len(logs) > 1:
        names = ", ".join(view.dir.name for view in chosen[:6]) + (", ..." if len(chosen) > 6 else "")
        raise LaunchError(f'"{selector}" names {len(chosen)} runs with {len(logs)} logs; choose one of {names}')
    [log] = logs
    if not log.exists() and chosen[0].status.job:
        log = _job_log(chosen[0])
    if not log.exists():
        say(Console(stderr=True), f"{chosen[0].dir.name} has no log yet: no worker has had it")
        return 0
    with open_to_read(log) as file:
        file.seek(start_of_last(log, lines))
        console, rest = Console(), b""
        goes_on = True
        while goes_on:
            goes_on = follow and _may_go_on(reader, chosen[0])
            if follow and not goes_on:
                time.sleep(POLL_S)  # a worker's last words come after its last status
            for block in iter(lambda: file.read(_CHUNK), b""):
                *whole, rest = (rest + block).split(b"\n")
                if len(rest) > _CHUNK:  # the rest of an endless line
                    whole, rest = [*whole, rest], b""
                for line in whole:
                    say(console, decode(line))
            if rest and not goes_on:
                say(console, decode(rest))
            console.file.flush()
            time.sleep(POLL_S if goes_on else 0)
    return 0


def _job_log(view: RunView) -> Path:
    """Of the job that was to train a run: a set-up line that failed, a Python that is not there."""
    return scheduler().log_of(view.dir.path.parents[2], str(view.status.job))


def _may_go_on(reader: RunsReader, chosen: RunView) -> bool:
    return any(view.dir == chosen.dir and view.state in ("running", "queued") for view in reader.read().runs)
