"""The settings and metrics that commands which compare settings are about."""

from collections.abc import Sequence
from pathlib import Path

from lop_engine.analysis import Group, group_runs
from lop_engine.analysis.groups import one_problem
from lop_engine.errors import UserError, did_you_mean
from lop_engine.experiment import seen
from lop_engine.runs.several import snapshot_of
from lop_engine.runs.views import Snapshot
from lop_tui.commands.reading import read_runs, select_runs
from lop_tui.words.comparison import listed
from lop_tui.words.comparison_tables import full_name


def groups_named(command: str, runs_dirs: Sequence[Path], names: Sequence[str], where: str) -> list[Group]:
    """The settings that `names` name, each one, of one problem. Raises UserError."""
    groups = _groups(command, snapshot_of(runs_dirs, read_runs(command, runs_dirs, where)[0]), names)
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
    """The metrics that are named, each once; by default the headline. Raises UserError."""
    shown = one_problem([run for group in groups for run in group.runs])
    known = list(dict.fromkeys([*seen.metric_names(), *shown.recorded]))
    for metric in names:
        if metric not in known:
            raise UserError(
                f'{command}: no metric "{metric}"{did_you_mean(metric, known)} (there are {", ".join(known)})'
            )
    if not names and not shown.headline:
        raise UserError(f"{command}: {full_name(groups[0])} has not finished a task yet; try again later")
    return list(dict.fromkeys(names)) or [shown.headline]


def _groups(command: str, snapshot: Snapshot, names: Sequence[str]) -> list[Group]:
    """The group that each name means. Raises UserError for a name that means several, or one again."""
    if len(names) < 2:
        raise UserError(f"{command}: name two or more experiments or settings: lop {command} bp cbp")
    groups: list[Group] = []
    for name in names:
        found = group_runs(select_runs(snapshot, [name]).runs)
        if len(found) > 1:
            raise UserError(
                f'{command}: "{name}" names {len(found)} settings; name one of {listed(map(full_name, found))}'
            )
        if found[0].label in [group.label for group in groups]:
            raise UserError(f'{command}: "{name}" names {found[0].label} again; it is compared with others, not itself')
        groups += found
    return groups
