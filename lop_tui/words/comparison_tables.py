"""Comparisons as tables, as Markdown and as JSON (`lop compare`)."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table

from lop_engine.analysis import Comparison, Group, Stretch, protocol_differences
from lop_engine.experiment import seen
from lop_tui.words.comparison import (
    CAPTION,
    about_holm,
    interval,
    p_value,
    planning,
    remarks,
    title,
    value_with_sign,
)
from lop_tui.words.console import Console, plural, say

_HEADINGS = ("over", "mean", "95 % by t", "95 % by bootstrap", "p", "p (Holm)", "d_z", "agree")


def print_tables(found: Sequence[Comparison], notes: Sequence[str]) -> None:
    """A table a comparison, with its remarks, and `notes` below all of them."""
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


def as_markdown(found: Sequence[Comparison], notes: Sequence[str]) -> list[str]:
    """The lines of the same in Markdown."""
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


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Values as they are recorded: a share is 0 .. 1. What cannot be told is null."""
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
