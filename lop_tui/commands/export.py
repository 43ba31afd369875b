"""`lop export`: records in other programs' forms."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from lop_engine.exchange import export_runs
from lop_engine.runs.views import RunView
from lop_tui.commands.console import Console, plural, say
from lop_tui.commands.reading import read_runs
from lop_tui.dashboard.rows import flag_lines


@dataclass(frozen=True)
class Request:
    """What a person asked to have."""

    runs_dir: Path
    form: str
    output: Path
    where: str
    epochs: bool
    force: bool


def export(request: Request) -> int:
    """Write the runs and say what was written and what is not whole. Raises UserError."""
    chosen, _ = read_runs("export", request.runs_dir, request.where)
    with _cleaning_up_on_signals():
        done = export_runs(chosen, request.form, request.output, request.epochs, request.force)
    console = Console()
    for path in done.paths:
        say(console, f"{request.form}: {path} ({plural(len(chosen) - len(done.left_out), 'run')})")
    is_table = request.form in ("csv", "parquet", "tensorboard")
    missing = "it has only what is there" if is_table else "what is missing is NaN"
    _tell(console, f"not all tasks done, {missing}", done.unfinished)
    _tell(console, "left out, nothing recorded or not readable", done.left_out)
    for line in flag_lines(chosen):
        say(console, line)
    return 0


@contextmanager
def _cleaning_up_on_signals() -> Iterator[None]:
    """Leave through SystemExit on SIGTERM and SIGHUP, so that what is half written is removed."""
    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]

    def handle(number: int, frame: FrameType | None) -> None:
        for one in ours:
            signal.signal(one, signal.SIG_IGN)  # a second one would end the removing
        sys.exit(128 + number)

    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _tell(console: Console, what: str, runs: Sequence[RunView]) -> None:
    if runs:
        names = ", ".join(run.dir.name for run in runs[:5]) + (", ..." if len(runs) > 5 else "")
        say(console, f"{what}: {plural(len(runs), 'run')} ({names})")
