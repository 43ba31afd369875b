"""Comparisons as text and tables (`lop compare`): what was compared, how certain it is, and what was left out."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table

from lop_engine.analysis import Comparison, Group, Stretch, protocol_differences
from lop_engine.analysis.statistics import MOST, plan
from lop_engine.analysis.windows import is_never_finite
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.runs.code_versions import versions_between
from lop_engine.runs.views import RunView
from lop_engine.text import plain
from lop_tui.words.console import Console, plural, say
from lop_tui.words.formats import name_seeds, significant
from lop_tui.words.notices import flag_lines

CAPTION = (
    "paired by seed; p: paired t-test; d_z: Cohen's, mean over standard deviation of the differences; "
    "agree: pairs whose difference has the sign of the mean"
)

_MOST_NAMED = 8
_FEW = 20  # docs/statistics.md has the coverage
_HEADINGS = ("over", "mean", "95 % by t", "95 % by bootstrap", "p", "p (Holm)", "d_z", "agree")


def title(comparison: Comparison) -> str:
    """Return ``cbp - bp: test accuracy, percentage points``."""
    measure = lookup.metric(comparison.metric)
    unit = ", percentage points" if measure.unit == "%" else ""
    return plain(f"{comparison.b.label} - {comparison.a.label}: {measure.title}{unit}")


def value_with_sign(value: float, measure: Metric) -> str:
    """Format a value with its sign; a share in percentage points."""
    if measure.unit == "%":
        return f"{100 * value:+.2f}"
    return ("+" if value >= 0 else "") + significant(value)


def interval(limits: tuple[float, float], measure: Metric) -> str:
    """Return ``+21.3 to +28.1``; a dash if missing."""
    if math.isnan(limits[0]):
        return "-"
    return f"{value_with_sign(limits[0], measure)} to {value_with_sign(limits[1], measure)}"


def size_of(value: float, measure: Metric) -> str:
    """Return the size of a difference without its sign: ``3.41 points``."""
    return f"{100 * value:.2f} points" if measure.unit == "%" else significant(value)


def planning(comparison: Comparison) -> list[str]:
    """Return a line on what the pairs can detect in the last tenth, and the number needed; none without spread."""
    tenth = next((stretch for stretch in comparison.stretches if stretch.name == "tenth"), None)
    planned = plan(tenth.test.difference) if tenth else None
    if tenth is None or planned is None:
        return []
    measure = lookup.metric(comparison.metric)
    detects = f"{plural(len(comparison.pairs), 'pair')} can detect {size_of(planned.detectable, measure)}"
    needed = f"more than {MOST} pairs" if planned.needed is None else plural(planned.needed, "pair")
    observed = value_with_sign(tenth.test.difference.mean, measure)
    return [f"last tenth, power {planned.power:g}: {detects}; the observed {observed} needs {needed} (lop power)"]


def p_value(p: float) -> str:
    """Format a p value with four decimals; a dash without a test."""
    if math.isnan(p):
        return "-"
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def remarks(comparison: Comparison, has_bootstrap: bool = True) -> list[str]:
    """Return remarks: how much was compared, from which task on the curves differ, and which seeds are left out.

    Args:
        has_bootstrap: the bootstrap interval is shown too; adds a warning if there are few pairs.
    """
    if not comparison.stretches:
        return [f"nothing to compare: {nothing_compared(comparison)}", *_alone(comparison)]
    difference, num_pairs = comparison.difference, len(comparison.pairs)
    lines = [
        f"{plural(num_pairs, 'pair')} of seeds, bins of {plural(difference.bin_size, 'task')}, "
        f"tasks 1-{comparison.last_task}"
    ]
    if 0 < comparison.last_bin < difference.bin_size:
        lines[0] += f"; the last bin has {plural(comparison.last_bin, 'task')}"
    if num_pairs == 1:
        lines.append("a single pair of seeds: no interval and no test")
    else:
        lines.append(_parting(difference.parts_at))
    if has_bootstrap and 1 < num_pairs < _FEW:
        lines.append(f"fewer than {_FEW} pairs: the bootstrap interval is too narrow, use Student's")
    lengths = comparison.a.num_tasks, comparison.b.num_tasks
    if lengths[0] != lengths[1]:
        lines.append(f"{comparison.a.label} has {lengths[0]} tasks, {comparison.b.label} {lengths[1]}: the common ones")
    if comparison.left_out:
        lines.append(f"left out, lacking bins up to task {comparison.last_task}: {name_seeds(comparison.left_out)}")
    return lines + _alone(comparison)


def _parting(parts_at: float | None) -> str:
    if parts_at is None:
        return "no difference is visible at the end: the last interval contains zero"
    return f"the curves differ from task {parts_at:.0f} on: all later intervals exclude zero"


def _alone(comparison: Comparison) -> list[str]:
    """Return notes on seeds without a partner, and on other differences within pairs."""
    sides = (comparison.a, comparison.difference.only_a), (comparison.b, comparison.difference.only_b)
    lines = [f"unpaired, only in {group.label}: {name_seeds(seeds)}" for group, seeds in sides if seeds]
    unlike = [f"{key} ({a} and {b})" for key, (a, b) in protocol_differences(comparison.a, comparison.b).items()]
    if unlike:
        lines.append(f"warning: the protocols differ too, not only the methods: {listed(unlike)}")
    return lines


def nothing_compared(comparison: Comparison) -> str:
    """Return why no pair of seeds was compared."""
    if not comparison.difference.pairs:
        return f"{comparison.a.label} and {comparison.b.label} have no seed in common"
    name, bin_size = lookup.metric(comparison.metric).title, comparison.difference.bin_size
    missing = [
        group.label
        for group in (comparison.a, comparison.b)
        if any(len(run.seconds) for run in group.runs)
        and not any(comparison.metric in run.series for run in group.runs)
    ]
    if missing:
        return f"{' and '.join(missing)} recorded no {name}"
    spoilt = [one.label for one in (comparison.a, comparison.b) if is_never_finite([one], [comparison.metric])]
    if spoilt:
        return f"{' and '.join(spoilt)}: {name} is not finite in any finished task"
    if bin_size == 1:
        return f"no seed of {comparison.a.label} and {comparison.b.label} has recorded {name} of a task in both yet"
    return (
        f"no seed of {comparison.a.label} and {comparison.b.label} has a whole bin "
        f"({plural(bin_size, 'task')}) of {name} in both; try a smaller --bin"
    )


def about_holm(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the family that the p values are corrected for; nothing without corrected ones."""
    others = {comparison.b.label for comparison in comparisons}
    if len(others) < 2:
        return []
    return [
        f"p (Holm): corrected for the {len(others)} groups compared with {comparisons[0].a.label}, "
        "separately for each row and metric; choose one row before you look"
    ]


def notes_on_runs(groups: Sequence[Group]) -> list[str]:
    """Return notes on runs that failed, cannot be read, lack records, or were trained by different code."""
    lines = []
    for group in groups:
        unfinished = [
            run for run in group.runs if not run.problem and run.state != "finished" and not run.is_ended_by_rule
        ]
        if unfinished:
            lines.append(f"not finished, {group.label}: {listed(_states(unfinished))}")
        lines += [f"cannot be read: {run.dir.name}: {run.problem}" for run in group.runs if run.problem]
    runs = [run for group in groups for run in group.runs]
    return lines + versions_between(runs) + flag_lines(runs)


def _states(runs: Sequence[RunView]) -> list[str]:
    """Return ``seeds 0-4 (running, 12 of 40 tasks)``: seeds in the same state together."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(f"{run.state}, {len(run.seconds)} of {run.num_tasks} tasks", []).append(run.seed)
    return [f"{name_seeds(numbers)} ({state})" for state, numbers in seeds.items()]


def listed(names: Iterable[str]) -> str:
    """Join names, only the first few of many."""
    names = list(names)
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def print_tables(comparisons: Sequence[Comparison], notes: Sequence[str]) -> None:
    """Print a table per comparison, with its remarks, and `notes` below all."""
    console = Console(pipe_width=120)
    for comparison in comparisons:
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
    for line in (CAPTION, *about_holm(comparisons), *notes):
        say(console, line)


def as_markdown(comparisons: Sequence[Comparison], notes: Sequence[str]) -> list[str]:
    """Return the same in Markdown, as lines."""
    lines = []
    for comparison in comparisons:
        headings = _headings(comparison)
        lines += [f"**{title(comparison)}**", ""]
        if comparison.stretches:
            lines += [_row(headings), _row("---" if heading == "over" else "---:" for heading in headings)]
            lines += [_row(_cells(stretch, comparison, headings)) for stretch in comparison.stretches]
            lines.append("")
        lines += [*(f"- {line}" for line in (*remarks(comparison), *planning(comparison))), ""]
    return lines + [f"- {line}" for line in (CAPTION, *about_holm(comparisons), *notes)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _headings(comparison: Comparison) -> list[str]:
    corrected = any(stretch.p_holm is not None for stretch in comparison.stretches)
    return [heading for heading in _HEADINGS if corrected or heading != "p (Holm)"]


def _cells(stretch: Stretch, comparison: Comparison, headings: Sequence[str]) -> list[str]:
    test, measure = stretch.test, lookup.metric(comparison.metric)
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


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return values in recorded units: a share is 0 .. 1. Unknown ones are null."""
    difference = comparison.difference
    return {
        "metric": comparison.metric,
        "problem": comparison.a.problem.name,
        "a": full_name(comparison.a),
        "b": full_name(comparison.b),
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


def full_name(group: Group) -> str:
    """``bp/step_size=0.01``"""
    return f"{group.experiment}/{group.setting}"
