"""Selects the runs that a command works on, with `lop_engine.runs.query` and `lop_engine.runs.selection`."""

from collections.abc import Sequence
from pathlib import Path

from lop_engine.errors import LaunchError, UserError
from lop_engine.runs.query import hint, parse_query
from lop_engine.runs.selection import Selection, choose
from lop_engine.runs.several import read_together
from lop_engine.runs.views import RunView, Snapshot
from lop_tui.commands.options import CARRY, ENDED_BY_RULE
from lop_tui.words.console import Console, plural, say


def carries(command: str, ended_by_rule: str) -> bool:
    """Parse ``--ended-by-rule``, see `RunView.carries`. Raises UserError."""
    if ended_by_rule not in ENDED_BY_RULE:
        raise UserError(f'{command}: --ended-by-rule "{ended_by_rule}": choose {" or ".join(ENDED_BY_RULE)}')
    return ended_by_rule == CARRY


def read_runs(
    command: str, runs_dirs: Sequence[Path], where: str = "", ended_by_rule: str = CARRY
) -> tuple[Sequence[RunView], Sequence[RunView]]:
    """Return the runs that match `where`, and all runs; neither is empty. Raises UserError, and QueryError.

    Args:
        ended_by_rule: one of `ENDED_BY_RULE`.
    """
    snapshot = read_together(runs_dirs, carries(command, ended_by_rule))
    runs = snapshot.runs
    if not runs:
        raise UserError(f"{command}: {no_runs(snapshot)}")
    chosen = matching(runs, where)
    if not chosen:
        place = f"{plural(len(runs), 'run')} in {snapshot.place}{hint(runs, where)}"
        raise UserError(f'{command}: --where "{where}": matches none of the {place}')
    return chosen, runs


def no_runs(snapshot: Snapshot) -> str:
    """Return the message that there are no runs, and what to do."""
    return f"no runs in {snapshot.place}; start some with lop run CFG, or name another --runs-dir"


def matching(runs: Sequence[RunView], where: str) -> Sequence[RunView]:
    """Return the runs that match `where`; warns on stderr about runs that cannot match. Raises QueryError."""
    query = parse_query(where)
    chosen = [run for run in runs if query.matches(run)]
    if chosen:
        _say_notes(query.notes(runs))
    return chosen


def select_runs(snapshot: Snapshot, selectors: Sequence[str], where: str = "") -> Selection:
    """Return the runs selected by `selectors` and `where`; warns about runs that cannot match. Raises UserError."""
    selection = choose(snapshot, selectors, where)
    _say_notes(selection.notes)
    return selection


def say_matched(console: Console, selection: Selection, snapshot: Snapshot) -> None:
    """Print which runs a condition matches, before they are changed."""
    if not selection.query.is_empty:
        runs = selection.runs
        names = ", ".join(run.dir.name for run in runs[:5]) + (", ..." if len(runs) > 5 else "")
        say(console, f"{len(runs)} of {plural(len(snapshot.runs), 'run')} {_match(len(runs))}: {names}")


def _match(number: int) -> str:
    return "matches" if number == 1 else "match"


def _say_notes(notes: Sequence[str]) -> None:
    for note in notes:
        say(Console(stderr=True), f"note: {note}")


def asked_for(command: str, selectors: Sequence[str], where: str) -> str:
    """Return what the user typed to name runs. Raises LaunchError if it is empty."""
    typed = " ".join([*selectors, where]).strip()
    if not typed:
        raise LaunchError(f"{command}: name runs, for example lop {command} cbp/default/3, or give --where")
    return typed
