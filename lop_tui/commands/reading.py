"""The runs that a command is about."""

from collections.abc import Sequence
from pathlib import Path

from lop_engine.errors import UserError
from lop_engine.runs.query import filter_runs, hint
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import RunView
from lop_tui.commands.console import plural


def read_runs(command: str, runs_dir: Path, where: str = "") -> tuple[Sequence[RunView], Sequence[RunView]]:
    """Those that `where` lets through, and all there are; neither is empty. Raises UserError, and QueryError."""
    runs = RunsReader(runs_dir).read().runs
    if not runs:
        raise UserError(f"{command}: no runs in {runs_dir}; start some with lop run CFG, or name another --runs-dir")
    chosen = filter_runs(runs, where)
    if not chosen:
        place = f"{plural(len(runs), 'run')} in {runs_dir}{hint(runs, where)}"
        raise UserError(f'{command}: --where "{where}": matches none of the {place}')
    return chosen, runs
