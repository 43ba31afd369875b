"""`lop compare`: groups of runs against the first, paired by seed; as a table, as Markdown or as JSON."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from lop_engine.analysis import Comparison, Group, Stretch, compare_to_first, group_runs, protocol_differences
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.groups import one_problem
from lop_engine.errors import UserError, did_you_mean
from lop_engine.experiment import seen
from lop_engine.runs.query import filter_runs, hint
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.selection import select
from lop_engine.runs.views import Snapshot
from lop_tui.commands.comparison_words import (
    CAPTION,
    about_holm,
    interval,
    listed,
    notes_on_runs,
    nothing_compared,
    p_value,
    planning,
    remarks,
    title,
    value_with_sign,
)
from lop_tui.commands.console import Console, plural, print_json, say
from lop_tui.commands.selection_words import notes_on_selection, seeds_of

_HEADINGS = ("over", "mean", "95 % by t", "95 % by bootstrap", "p", "p (Holm)", "d_z", "agree")


@dataclass(frozen=True)
class Request:
    """What a person asked to have compared."""

    runs_dir: Path
    names: Sequence[str]
    """The first is what the others stand against."""
    metrics: Sequence[str]
    """Empty for the headline of the groups' problem."""
    num_last: int | None
    """Bins of a further row."""
    bin_size: int | None
    where: str
    select_seeds: str
    """That choose settings of a sweep, as `parse_seeds` reads them; empty for half."""
    markdown: bool
    as_json: bool


def compare_runs(request: Request) -> int:
    """Print each group's difference to the first in each metric; return 0. Raises UserError."""
    if request.markdown and request.as_json:
        raise UserError("compare: --markdown or --json? Choose one")
    groups = groups_named("compare", request.runs_dir, request.names, request.where)
    metrics = metrics_named("compare", request.metrics, groups)
    refuse_mixed(groups)
    found = [
        comparison
        for metric in metrics
        for comparison in compare_to_first(groups, metric, request.num_last, request.bin_size)
    ]
    if not any(comparison.stretches for comparison in found):
        raise UserError(f"compare: {nothing_compared(found[0])}")
    select = seeds_of("compare", request.select_seeds)
    notes = [*notes_on_selection(groups, _settings(request.runs_dir), select), *notes_on_runs(groups)]
    if request.as_json:
        answer = {
            "runs_dir": str(request.runs_dir),
            "confidence": 0.95,
            "correction": "holm" if len(groups) > 2 else None,
            "comparisons": [_as_dict(comparison) for comparison in found],
            "notes": notes,
        }
        print_json(answer)
    elif request.markdown:
        console = Console()
        for line in _markdown(found, notes):
            say(console, line)
    else:
        _print_tables(found, notes)
    return 0


def groups_named(command: str, runs_dir: Path, names: Sequence[str], where: str) -> list[Group]:
    """The settings that `names` name, each one, of one problem. Raises UserError."""
    groups = _groups(command, _chosen(command, runs_dir, where), names)
    _refuse_several_problems(command, groups)
    return groups


def _settings(runs_dir: Path) -> list[Group]:
    """All settings that there are, with all seeds."""
    return group_runs(RunsReader(runs_dir).read().runs)


def _refuse_several_problems(command: str, groups: Sequence[Group]) -> None:
    first, *others = groups
    for other in others:
        if other.problem.name != first.problem.name:
            raise UserError(
                f"{command}: {_name(first)} is of {first.problem.title} and {_name(other)} of {other.problem.title}; "
                "compare runs of one problem"
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
        raise UserError(f"{command}: {_name(groups[0])} has not finished a task yet; try again later")
    return list(dict.fromkeys(names)) or [shown.headline]


def _chosen(command: str, runs_dir: Path, where: str) -> Snapshot:
    """The runs that names are looked for among."""
    snapshot = RunsReader(runs_dir).read()
    chosen = filter_runs(snapshot.runs, where)
    if snapshot.runs and not chosen:
        place = f"{plural(len(snapshot.runs), 'run')} in {runs_dir}{hint(snapshot.runs, where)}"
        raise UserError(f'{command}: --where "{where}": matches none of the {place}')
    return replace(snapshot, runs=chosen)


def _groups(command: str, snapshot: Snapshot, names: Sequence[str]) -> list[Group]:
    """The group that each name means. Raises UserError for a name that means several, or one again."""
    if len(names) < 2:
        raise UserError(f"{command}: name two or more experiments or settings: lop {command} bp cbp")
    groups: list[Group] = []
    for name in names:
        found = group_runs(select(snapshot, [name]))
        if len(found) > 1:
            raise UserError(f'{command}: "{name}" names {len(found)} settings; name one of {listed(map(_name, found))}')
        if found[0].label in [group.label for group in groups]:
            raise UserError(f'{command}: "{name}" names {found[0].label} again; it is compared with others, not itself')
        groups += found
    return groups


def _name(group: Group) -> str:
    return f"{group.experiment}/{group.setting}"


def _print_tables(found: Sequence[Comparison], notes: Sequence[str]) -> None:
    console = Console(pipe_width=120)
    for comparison in found:
        table = Table(
            title=title(comparison), title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
        )
        headings = _headings(comparison)
        for heading in headings:
            table.add_column(
                heading, justify="left" if heading == "over" else "right", no_wrap=not heading.startswith("95")
            )
        for stretch in comparison.stretches:
            table.add_row(*_cells(stretch, comparison, headings))
        if comparison.stretches:
            console.print(table)
        for line in (*remarks(comparison), *planning(comparison)):
            say(console, line)
        console.print()
    for line in (CAPTION, *about_holm(found), *notes):
        say(console, line)


def _markdown(found: Sequence[Comparison], notes: Sequence[str]) -> list[str]:
    lines = []
    for comparison in found:
        headings = _headings(comparison)
        lines += [f"**{title(comparison)}**", ""]
        if comparison.stretches:
            lines += [_row(headings), _row("---" if heading == "over" else "---:" for heading in headings)]
            lines += [_row(_cells(stretch, comparison, headings)) for stretch in comparison.stretches]
            lines.append("")
        lines += [*(f"- {line}" for line in (*remarks(comparison), *planning(comparison))), ""]
    return lines + [f"- {line}" for line in (CAPTION, *about_holm(found), *notes)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _headings(comparison: Comparison) -> list[str]:
    corrected = any(stretch.p_holm is not None for stretch in comparison.stretches)
    return [heading for heading in _HEADINGS if corrected or heading != "p (Holm)"]


def _cells(stretch: Stretch, comparison: Comparison, headings: Sequence[str]) -> list[str]:
    test, measure = stretch.test, seen.metric(comparison.metric)
    over = {
        "end": "last bin",
        "last": f"last {plural(stretch.num_bins or 0, 'bin')}",
        "tenth": "last tenth",
        "area": "whole run",
    }[stretch.name]
    values = (
        over,
        value_with_sign(test.difference.mean, measure),
        interval((test.difference.low, test.difference.high), measure),
        interval(test.bootstrap, measure),
        p_value(test.p_value),
        p_value(math.nan if stretch.p_holm is None else stretch.p_holm),
        "-" if math.isnan(test.effect_size) else f"{test.effect_size:.2f}",
        f"{test.num_agree}/{test.difference.num_values}",
    )
    return [value for heading, value in zip(_HEADINGS, values, strict=True) if heading in headings]


def _as_dict(comparison: Comparison) -> dict[str, Any]:
    """Values as they are recorded: a share is 0 .. 1. What cannot be told is null."""
    difference = comparison.difference
    return {
        "metric": comparison.metric,
        "problem": comparison.a.problem.name,
        "a": _name(comparison.a),
        "b": _name(comparison.b),
        "methods": (comparison.a.method, comparison.b.method),
        "bin_size": difference.bin_size,
        "last_task": comparison.last_task,
        "pairs": comparison.pairs,
        "left_out": comparison.left_out,
        "only_a": difference.only_a,
        "only_b": difference.only_b,
        "parts_at": difference.parts_at,
        "protocol_differences": protocol_differences(comparison.a, comparison.b),
        "stretches": [_stretch_as_dict(stretch) for stretch in comparison.stretches],
        "remarks": [*remarks(comparison), *planning(comparison)],
    }


def _stretch_as_dict(stretch: Stretch) -> dict[str, Any]:
    test = stretch.test
    return {
        "over": stretch.name,
        "tasks": (stretch.first_task, stretch.last_task),
        "num_bins": stretch.num_bins,
        "mean": test.difference.mean,
        "t_interval": (test.difference.low, test.difference.high),
        "bootstrap_interval": test.bootstrap,
        "p": test.p_value,
        "p_holm": stretch.p_holm,
        "d_z": test.effect_size,
        "num_agree": test.num_agree,
        "num_pairs": test.difference.num_values,
    }
