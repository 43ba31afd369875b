"""`lop export`: records in other programs' forms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lop_engine.errors import UserError
from lop_engine.exchange import export_runs
from lop_engine.query import filter_runs
from lop_engine.runs import RunsReader, RunView
from lop_tui.commands.console import plural, say


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
    runs = RunsReader(request.runs_dir).read().runs
    if not runs:
        raise UserError(f"export: no runs in {request.runs_dir}; name another --runs-dir")
    chosen = filter_runs(runs, request.where)
    if not chosen:
        raise UserError(
            f'export: --where "{request.where}": matches none of the {len(runs)} runs in {request.runs_dir}'
        )
    done = export_runs(chosen, request.form, request.output, request.epochs, request.force)
    console = Console()
    for path in done.paths:
        say(console, f"{request.form}: {path} ({plural(len(chosen) - len(done.left_out), 'run')})")
    is_table = request.form in ("csv", "parquet", "tensorboard")
    missing = "it has only what is there" if is_table else "what is missing is NaN"
    _tell(console, f"not all tasks done, {missing}", done.unfinished)
    _tell(console, "left out, nothing recorded or not readable", done.left_out)
    return 0


def _tell(console: Console, what: str, runs: Sequence[RunView]) -> None:
    if runs:
        names = ", ".join(run.dir.name for run in runs[:5]) + (", ..." if len(runs) > 5 else "")
        say(console, f"{what}: {plural(len(runs), 'run')} ({names})")
