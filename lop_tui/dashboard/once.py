"""One frame without Textual: as text for `lop watch --once`, as numbers for `--json`."""

import io
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from rich.console import OverflowMethod
from rich.text import Text

from lop_engine.analysis import Group
from lop_engine.errors import UserError, instead
from lop_engine.experiment import lookup
from lop_engine.runs.directory import RunDir
from lop_engine.runs.query import filter_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.several import SeveralReader
from lop_tui.dashboard.advice import advice, closing_hint
from lop_tui.dashboard.drawing.chart import Line
from lop_tui.dashboard.drawing.plots import Ink, draw
from lop_tui.dashboard.model import View, ViewBuilder, find_nested
from lop_tui.dashboard.rows import Row, count_states
from lop_tui.dashboard.settings import Request, Settings, usual_markers
from lop_tui.dashboard.table import describe_states, fit_table
from lop_tui.words.console import Console, plural
from lop_tui.words.formats import time_left

MOST_CHARTS = 5
"""Most charts of a frame, unless metrics are named."""
_LEAST_CHART_HEIGHT = 8


def read_views(runs: Path | RunsReader | SeveralReader, query: str = "") -> list[View]:
    """Return the current runs that match the filter: a view per problem, the one with most runs first.

    Args:
        runs: the runs directory, or a reader.
    Raises:
        QueryError: the filter is invalid.
    """
    snapshot = (RunsReader(runs) if isinstance(runs, Path) else runs).read()
    filter_runs(snapshot.runs, query)  # report ambiguous words
    nested = [] if snapshot.runs else find_nested(snapshot.runs_dir)
    request = Request(Settings(query=query))
    first = ViewBuilder().build(snapshot, request, nested)
    others = [replace(request, settings=replace(request.settings, problem=name)) for name, _ in first.shown.others]
    return [first, *(ViewBuilder().build(snapshot, other) for other in others)]


def render(
    runs: Path | RunsReader | SeveralReader,
    width: int,
    height: int,
    coloured: bool | None = None,
    query: str = "",
    metrics: Sequence[str] = (),
) -> str:
    """Return the current runs of one problem as text: table, notices, and a chart of each of `metrics`.

    Raises QueryError, and UserError for a metric that is neither known nor recorded.
    """
    if coloured is None:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    view = read_views(runs, query)[0]
    metrics = _checked(metrics, view) or [chart.measure.name for chart in view.panels][:MOST_CHARTS]
    ink = Ink(coloured=coloured, markers=usual_markers())
    console = Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ink.ascii else "utf-8"),
        width=width,
        force_terminal=coloured,
        color_system="truecolor" if coloured else None,
    )
    lines = _lines(view, console, height, ink, metrics)
    with console.capture() as captured:
        for line in lines:
            overflow: OverflowMethod = "crop" if ink.ascii else "ellipsis"
            console.print(line, no_wrap=True, overflow=overflow, crop=True, highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")) + "\n"


def _checked(metrics: Sequence[str], view: View) -> Sequence[str]:
    known = list(dict.fromkeys([*lookup.metric_names(), *view.shown.charts]))
    for metric in metrics:
        if metric not in known:
            raise UserError(f'watch: no metric "{metric}"{instead(metric, known)}')
    return metrics


def _lines(view: View, console: Console, height: int, ink: Ink, metrics: Sequence[str]) -> list[Text]:
    states = describe_states(view.states, coloured=ink.coloured)
    lines = [Text(f"{plural(view.num_runs, 'run')} in {view.place}: ").append(states)] if view.num_runs else []
    lines += [Text(left)] if (left := time_left(view.eta_s)) else []
    lines += [Text(line) for line in wrap(view.shown.note, console.width, break_on_hyphens=False)]
    lines += [*_table(view, console, ink)]
    lines += [Text(f"{notice.run}  {notice.text}") for notice in view.notices]
    hint = advice(view)
    if hint:
        what, commands, remark = hint
        return [
            *lines,
            Text(what),
            *(Text(f"    {command}") for command in commands),
            *([Text(remark)] if remark else []),
        ]
    chart_height = min(max((height - len(lines)) // max(1, len(metrics)) - 3, _LEAST_CHART_HEIGHT), 30)
    lines += [line for metric in metrics for line in _chart(view, metric, console.width, chart_height, ink)]
    return [*lines, Text(closing_hint(view))] if view.all_ended else lines


def _chart(view: View, metric: str, width: int, height: int, ink: Ink) -> list[Text]:
    """Return a blank line, the heading, and the chart; if a metric has no points, the reason."""
    chart = next((chart for chart in view.charts if chart.measure.name == metric), None)
    if chart is None or not chart.has_points:
        remark = chart.remark if chart and chart.remark else "not recorded"
        return [Text(), Text(f"{lookup.metric(metric).heading}: {remark}")]
    bins = f"bins of {plural(chart.bin_size, 'task')}" if chart.x_unit != "tasks" else f"bins of {chart.bin_size}"
    parts = ", ".join(part for part in (bins, chart.legend) if part)
    caption = f"{chart.measure.heading}, by {chart.x_unit.removesuffix('s')} ({parts})"
    return [Text(), Text(caption), *draw(chart, width, height, ink).split("\n")]


def _table(view: View, console: Console, ink: Ink) -> list[Text]:
    table = fit_table(view.rows, console.width, ink.coloured and not ink.ascii)
    if not table.rows:
        return []
    rows = [tuple(Text(column) for column in table.columns), *table.rows.values()]
    for cell in (cell for row in rows for cell in row):
        cell.plain = console.plain(cell.plain)
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    return [_join(row, widths) for row in rows]


def _join(cells: tuple[Text, ...], widths: list[int]) -> Text:
    """Join the columns of a table's line, two spaces apart."""
    line = Text()
    for cell, width in zip(cells, widths, strict=True):
        padding = " " * (width - cell.cell_len)
        line.append_text(Text(padding) + cell if cell.justify == "right" else cell + Text(padding)).append("  ")
    return line


def as_dict(*views: View) -> dict[str, Any]:
    """Return a dict for JSON: runs by state, settings, and each metric's curve (mean, standard error, seeds; by task).

    Args:
        views: at least one, one per problem, all at the same moment.
    """
    runs = list(dict.fromkeys(run for view in views for run in view.runs))
    settings: dict[RunDir, dict[str, Any]] = {}  # keyed by the first run: views may repeat runs that cannot be read
    for view in views:
        for row, group in zip(view.rows, view.groups, strict=True):
            settings.setdefault(group.runs[0].dir, _setting(view, row, group))
    return {
        "runs_dir": views[0].place,
        "phase": _phase(view.phase for view in views),
        "filter": views[0].request.settings.query,
        "hidden": views[0].num_hidden,
        "eta_s": views[0].eta_s,
        "states": dict(count_states(runs)),
        "settings": list(settings.values()),
        "notices": [
            {"run": notice.run, "text": notice.text}
            for notice in dict.fromkeys(notice for view in views for notice in view.notices)
        ],
    }


def _phase(phases: Iterable[str]) -> str:
    """Return the phase of all runs: `running` while those of one problem run."""
    all_phases = list(phases)
    return next((phase for phase in ("running", "no tasks") if phase in all_phases), all_phases[0])


def _setting(view: View, row: Row, group: Group) -> dict[str, Any]:
    return {
        "label": row.label,
        "experiment": group.experiment,
        "setting": group.setting,
        "problem": view.shown.problem.name,
        "method": row.method,
        "seeds": [run.seed for run in group.runs],
        "states": dict(row.states),
        "tasks_done": row.tasks_done,
        "tasks_total": row.tasks_total,
        "progress": row.progress,
        "tasks_per_min": row.tasks_per_min,
        "eta_s": row.eta_s,
        "device": row.device,
        "metrics": {
            chart.measure.name: _curve(line)
            for chart in view.charts
            for line in chart.lines
            if line.label == row.label and len(line.curve.task)
        },
    }


def _curve(line: Line) -> dict[str, Any]:
    curve = line.curve
    return {
        "bin_size": curve.bin_size,
        "task": curve.task.tolist(),
        "mean": curve.mean.tolist(),
        "standard_error": curve.standard_error.tolist(),
        "num_seeds": np.asarray(curve.num_seeds).tolist(),
    }
