"""Tables of methods by tenths, metrics and problems (`lop table`)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lop_engine.analysis import Group, Over
from lop_engine.analysis.choice import Choice, Criterion, choose, families, seed_values
from lop_engine.analysis.comparison import Entry, column
from lop_engine.analysis.groups import OneProblem
from lop_engine.experiment import lookup
from lop_tui.words.best import OVER, note_on_choice
from lop_tui.words.comparison import notes_on_runs
from lop_tui.words.formats import mean_with_error
from lop_tui.words.sheets import Cell, Column, Sheet


@dataclass(frozen=True)
class Row:
    """A method, or a setting, of one problem."""

    name: str
    group: Group
    choice: Choice | None


@dataclass(frozen=True)
class Part:
    """One column: a metric of one problem over some tasks."""

    one: OneProblem
    metric: str
    over: Over
    entries: Mapping[str, tuple[Row, Entry]]
    """Entries by row name."""


def rows_of(
    groups: Sequence[Group],
    metric: str | None,
    criterion: Criterion,
    select: Sequence[int] | None,
    every_setting: bool,
) -> list[Row]:
    """Return a row per method, its best setting on the seeds that did not choose it; or a row per setting.

    Args:
        metric: the metric that chooses settings; None for a row per setting.
    """
    if every_setting or not metric:
        return [Row(group.label, group, None) for group in groups]
    settings_of_methods = families(groups)
    methods = [family[0].method for family in settings_of_methods]
    is_by_method = len(set(methods)) == len(methods) and all(methods)
    experiments = [family[0].experiment for family in settings_of_methods]
    rows = []
    for family in settings_of_methods:
        first = family[0]
        name = first.method if is_by_method else first.experiment
        if not is_by_method and experiments.count(first.experiment) > 1:
            name = f"{first.experiment} ({first.method})"
        choice = choose(family, metric, criterion, select)
        rows.append(Row(name, choice.shown if choice else first, choice))
    return rows


def part_of(one: OneProblem, metric: str, over: Over, rows: Sequence[Row]) -> Part:
    """Return a column; entries of rows without a chosen setting are empty."""
    is_choice = any(row.choice for row in rows)
    values = [seed_values(row.group, metric, over) if row.choice or not is_choice else {} for row in rows]
    entries = column(values, lookup.metric(metric).better)
    if not _is_judged(one, metric):
        entries = [replace(entry, is_marked=False) for entry in entries]
    return Part(one, metric, over, {row.name: (row, entry) for row, entry in zip(rows, entries, strict=True)})


def _is_judged(one: OneProblem, metric: str) -> bool:
    """Whether values of the metric can be ranked: headlines and similar metrics."""
    return metric in (one.headline, *one.problem.together)


def _heading(part: Part) -> str:
    if part.over == "best" and not _is_judged(part.one, part.metric):
        return "highest tenth" if lookup.metric(part.metric).better == "higher" else "lowest tenth"
    return OVER[part.over]


def sheet_of_methods(
    parts: Sequence[Part], rows: Sequence[Sequence[Row]], every_setting: bool, runs_dirs: str
) -> Sheet:
    """Return the whole table, with its notes."""
    names = list(dict.fromkeys(row.name for of_problem in rows for row in of_problem))
    columns, cells = (
        [Column("method" if not every_setting else "setting", is_number=False)],
        [[Cell(name)] for name in names],
    )
    for place, part in enumerate(parts):
        group = _group(part, parts)
        if not place or (parts[place - 1].one, parts[place - 1].metric) != (part.one, part.metric):
            of_group = [one for one in parts if (one.one, one.metric) == (part.one, part.metric)]
            columns.append(Column("n", group))
            for name, row in zip(names, cells, strict=True):
                row.append(Cell(_most_seeds(name, of_group)))
        columns.append(Column(_heading(part), group))
        for name, row in zip(names, cells, strict=True):
            row.append(_cell(part, name, row))
    records = [_record(part, *pair) for part in parts for pair in part.entries.values()]
    notes = _notes(rows)
    return Sheet(
        _caption(parts),
        columns,
        cells,
        notes,
        records,
        {"runs_dir": runs_dirs, "confidence": 0.95, "cells": records, "notes": notes},
    )


def _most_seeds(name: str, parts: Sequence[Part]) -> str:
    numbers = [part.entries[name][1].value.num_values for part in parts if name in part.entries]
    return str(max(numbers)) if numbers else "-"


def _cell(part: Part, name: str, before: Sequence[Cell]) -> Cell:
    if name not in part.entries or not part.entries[name][1].value.num_values:
        return Cell("-")
    entry, measure = part.entries[name][1], lookup.metric(part.metric)
    reach = entry.value.high - entry.value.mean
    value = mean_with_error(entry.value.mean, None if math.isnan(reach) else reach, measure)
    number = str(entry.value.num_values)
    most = (
        _most_seeds(name, [part]) if before[-1].text == "-" else next(c.text for c in before[::-1] if c.text.isdigit())
    )
    return Cell(value if number == most else f"{value} (n={number})", entry.is_marked)


def _group(part: Part, parts: Sequence[Part]) -> str:
    """Return the heading above a column: problem and metric, if columns differ in them."""
    words = [part.one.problem.title] if len({one.one.problem.name for one in parts}) > 1 else []
    if len({one.metric for one in parts}) > 1:
        words.append(lookup.metric(part.metric).label)
    return ": ".join(words)


def _caption(parts: Sequence[Part]) -> str:
    titles = list(dict.fromkeys(lookup.metric(part.metric).label for part in parts))
    title = titles[0] if len(titles) == 1 else "metrics"
    return f"{title[:1].upper()}{title[1:]}: mean over n seeds ± half of the 95 % interval (Student's t)"


def _notes(rows: Sequence[Sequence[Row]]) -> list[str]:
    lines = ["bold (* in text): the best of its column, and what the paired t-test does not find worse (Holm, 5 %)"]
    for choice in (row.choice for of_problem in rows for row in of_problem if row.choice):
        lines += note_on_choice(choice, "shown")
    return lines + notes_on_runs([row.group for of_problem in rows for row in of_problem])


def _record(part: Part, row: Row, entry: Entry) -> dict[str, Any]:
    """Return values in recorded units: a share is 0 .. 1."""
    estimated, choice = entry.value, row.choice
    numbers = {"mean": estimated.mean, "low": estimated.low, "high": estimated.high, "p_holm": entry.p_holm}
    return {
        "method": row.group.method,
        "experiment": row.group.experiment,
        "setting": row.group.setting,
        "problem": part.one.problem.name,
        "metric": part.metric,
        "over": part.over,
        "n": estimated.num_values,
        **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        "is_best": entry.is_best,
        "is_marked": entry.is_marked,
        "on_selection_seeds": bool(choice and choice.is_biased),
    }
