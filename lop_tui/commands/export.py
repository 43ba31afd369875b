"""`lop export`: writes records in formats of other programs."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIRS, RunsDirs, Where, output

if TYPE_CHECKING:
    from lop_engine.runs.views import RunView


@app.command(epilog="Example: [b]lop export --format csv -o results.csv[/b]", rich_help_panel="Results")
def export(
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="csv, npz, parquet, pickle (the reference's files) or tensorboard."
        ),
    ],
    path: Annotated[Path, output("A file; a directory for pickle and tensorboard.", metavar="PATH")],
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    where: Where = "",
    epochs: Annotated[
        bool, typer.Option("--epochs", help="Include every epoch; csv and parquet write these to PATH_epochs.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> int:
    """Write the records of runs in a format for other programs."""
    from lop_engine.exchange import export_runs
    from lop_tui.commands.reading import read_runs
    from lop_tui.words.console import Console, plural, say
    from lop_tui.words.notices import flag_lines

    def tell(what: str, runs: "Sequence[RunView]") -> None:
        if runs:
            names = ", ".join(run.dir.name for run in runs[:5]) + (", ..." if len(runs) > 5 else "")
            say(console, f"{what}: {plural(len(runs), 'run')} ({names})")

    chosen, _ = read_runs("export", runs_dirs, where)
    with _cleaning_up_on_signals():
        done = export_runs(chosen, form, path, epochs, force)
    console = Console()
    for written in done.paths:
        say(console, f"{form}: {written} ({plural(len(chosen) - len(done.left_out), 'run')})")
    is_table = form in ("csv", "parquet", "tensorboard")
    missing = "only recorded rows are written" if is_table else "missing values are NaN"
    tell(f"not all tasks done, {missing}", done.unfinished)
    tell("left out, nothing recorded or not readable", done.left_out)
    for line in flag_lines(chosen):
        say(console, line)
    return 0


@contextmanager
def _cleaning_up_on_signals() -> Iterator[None]:
    """Exit through SystemExit on SIGTERM and SIGHUP, so that half-written files are removed."""
    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]

    def handle(number: int, frame: FrameType | None) -> None:
        for one in ours:
            signal.signal(one, signal.SIG_IGN)  # a second signal would interrupt the removal
        sys.exit(128 + number)

    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
