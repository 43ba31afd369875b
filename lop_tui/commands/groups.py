"""The settings and metrics that comparing commands use."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lop_engine.analysis import Group, group_runs
from lop_engine.analysis.choice import Criterion, choose, families
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.groups import one_problem
from lop_engine.errors import UserError, instead
from lop_engine.experiment import lookup
from lop_engine.runs.several import snapshot_of
from lop_engine.runs.views import Snapshot
from lop_tui.commands.options import CARRY
from lop_tui.commands.reading import read_runs, select_runs
from lop_tui.words.best import not_chosen, note_on_choice
from lop_tui.words.comparison import full_name, listed

PickOne = Callable[[Sequence[Group]], Group]
"""Picks one of several settings of a method."""


def groups_named(
    command: str,
    runs_dirs: Sequence[Path],
    names: Sequence[str],
    where: str,
    pick: PickOne | None = None,
    ended_by_rule: str = CARRY,
) -> list[Group]:
    """Return the settings that `names` name, one each, all of one problem. Raises UserError.

    Args:
        pick: picks one setting if a name means several of one method; without it such names are refused.
    """
    runs, _ = read_runs(command, runs_dirs, where, ended_by_rule)
    groups = _groups(command, snapshot_of(runs_dirs, runs), names, pick)
    _refuse_several_problems(command, groups)
    return groups


def _refuse_several_problems(command: str, groups: Sequence[Group]) -> None:
    first, *others = groups
    for other in others:
        if other.problem.name != first.problem.name:
            raise UserError(
                f"{command}: {full_name(first)} is of {first.problem.title} and {full_name(other)} of "
                f"{other.problem.title}; compare runs of one problem"
            )


def metrics_named(command: str, names: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """Return the named metrics without repetitions; by default the headline. Raises UserError."""
    shown = one_problem([run for group in groups for run in group.runs])
    known = list(dict.fromkeys([*lookup.metric_names(), *shown.recorded]))
    for metric in names:
        if metric not in known:
            raise UserError(f'{command}: no metric "{metric}"{instead(metric, known)}')
    if not names and not shown.headline:
        raise UserError(f"{command}: {full_name(groups[0])} has not finished a task yet; try again later")
    return list(dict.fromkeys(names)) or [shown.headline]


def pick_best(
    command: str, metric: str, select: Sequence[int] | None, notes: list[str], criterion: Criterion = "last"
) -> PickOne:
    """Return a function that picks settings like `lop best`, with the other seeds; it adds the choice to `notes`."""

    def pick(family: Sequence[Group]) -> Group:
        refuse_mixed(family)
        [judged_by] = metrics_named(command, [metric] if metric else [], family)
        choice = choose(family, judged_by, criterion, select)
        if choice is None:
            raise UserError(f"{command}: {not_chosen(family, judged_by, select)}")
        notes.extend(note_on_choice(choice, "compared"))
        return choice.shown

    return pick


def _or_best(command: str, named: Sequence[Group], pick: PickOne | None) -> str:
    """Return a hint at the option that chooses among a method's settings, if it would help."""
    return ", or let --best choose" if command == "compare" and not pick and len(families(named)) == 1 else ""


def _groups(command: str, snapshot: Snapshot, names: Sequence[str], pick: PickOne | None) -> list[Group]:
    """Return the group of each name. Raises UserError if a name means several groups, or one is repeated."""
    if len(names) < 2:
        raise UserError(f"{command}: name two or more experiments or settings: lop {command} bp cbp")
    groups: list[Group] = []
    for name in names:
        matches = group_runs(select_runs(snapshot, [name]).runs)
        if pick and len(matches) > 1 and len(families(matches)) == 1:
            matches = [pick(matches)]
        if len(matches) > 1:
            raise UserError(
                f'{command}: "{name}" names {len(matches)} settings; name one of {listed(map(full_name, matches))}'
                f"{_or_best(command, matches, pick)}"
            )
        if matches[0].label in [group.label for group in groups]:
            raise UserError(f'{command}: "{name}" names {matches[0].label} twice; name each once')
        groups += matches
    return groups
