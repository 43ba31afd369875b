"""`lop logs`: shows the log of a run's worker."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lop_engine.errors import LaunchError
from lop_engine.files import open_to_read
from lop_engine.runs.logs import decode, start_of_last
from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIR, OneRun, RunsDir, Where

if TYPE_CHECKING:
    from lop_engine.runs.reading import RunsReader
    from lop_engine.runs.views import RunView

POLL_S = 0.3
_CHUNK = 2**16


@app.command(epilog="Example: [b]lop logs cbp/default/3 -f[/b]", rich_help_panel="Look")
def logs(
    runs: OneRun = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing new lines until the run ends.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="Number of lines from the end.")] = 40,
) -> int:
    """Show the log of a run's worker."""
    from lop_engine.runs.reading import RunsReader
    from lop_tui.commands.reading import asked_for, select_runs
    from lop_tui.words.console import Console, say

    reader, names_typed = RunsReader(runs_dir), asked_for("logs", runs or [], where)
    chosen = select_runs(reader.read(), runs or [], where).runs
    log_files = list(dict.fromkeys(view.dir.worker_log(view.status) for view in chosen))
    if len(log_files) > 1:
        names = ", ".join(view.dir.name for view in chosen[:6]) + (", ..." if len(chosen) > 6 else "")
        raise LaunchError(f'"{names_typed}" names {len(chosen)} runs with {len(log_files)} logs; choose one of {names}')
    [log] = log_files
    if not log.exists() and chosen[0].status.job:
        log = _job_log(chosen[0])
    if not log.exists():
        say(Console(stderr=True), f"{chosen[0].dir.name} has no log yet: no worker has trained it")
        return 0
    with open_to_read(log) as file:
        file.seek(start_of_last(log, lines))
        console, rest = Console(), b""
        goes_on = True
        while goes_on:
            goes_on = follow and _may_go_on(reader, chosen[0])
            if follow and not goes_on:
                time.sleep(POLL_S)  # a worker writes its last lines after its last status
            for block in iter(lambda: file.read(_CHUNK), b""):
                *whole, rest = (rest + block).split(b"\n")
                if len(rest) > _CHUNK:  # the rest of a very long line
                    whole, rest = [*whole, rest], b""
                for line in whole:
                    say(console, decode(line))
            if rest and not goes_on:
                say(console, decode(rest))
            console.file.flush()
            time.sleep(POLL_S if goes_on else 0)
    return 0


def _job_log(view: "RunView") -> Path:
    """Return the log of the job that was to train a run: it shows failed set-up lines and a missing Python."""
    from lop_engine.runs.jobs import scheduler

    return scheduler().log_of(view.dir.path.parents[2], str(view.status.job))


def _may_go_on(reader: "RunsReader", chosen: "RunView") -> bool:
    return any(view.dir == chosen.dir and view.state in ("running", "queued") for view in reader.read().runs)
