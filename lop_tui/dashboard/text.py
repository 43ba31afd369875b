"""One frame as text, for `lop watch --once`: the same model and the same charts, without Textual."""

import io
import os
import sys
from pathlib import Path

from rich.text import Text

from lop_engine.query import parse_query
from lop_engine.runs import RunsReader
from lop_tui.commands.console import Console
from lop_tui.dashboard.advice import advice, closing_hint
from lop_tui.dashboard.drawing.plots import Ink, draw
from lop_tui.dashboard.model import View, ViewBuilder, find_nested
from lop_tui.dashboard.settings import Request, Settings
from lop_tui.dashboard.table import describe_states, fit_table

_LEAST_CHART_HEIGHT = 8


def read_view(runs_dir: Path, query: str = "") -> View:
    """The runs under `runs_dir` now, those that the filter lets through. Raises QueryError."""
    parse_query(query)
    snapshot = RunsReader(runs_dir).read()
    nested = [] if snapshot.runs else find_nested(runs_dir)
    return ViewBuilder().build(snapshot, Request(Settings(query=query)), nested)


def render(runs_dir: Path, width: int, height: int, coloured: bool | None = None, query: str = "") -> str:
    """The runs under `runs_dir` now: table, notices and a chart of the test accuracy. Raises QueryError."""
    if coloured is None:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    view = read_view(runs_dir, query)
    console = Console(
        file=io.StringIO(), width=width, force_terminal=coloured, color_system="truecolor" if coloured else None
    )
    lines = _lines(view, width, height, coloured)
    with console.capture() as captured:
        for line in lines:
            console.print(line, no_wrap=True, overflow="ellipsis", crop=True, highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")) + "\n"


def _lines(view: View, width: int, height: int, coloured: bool) -> list[Text]:
    lines = [Text(f"{view.runs_dir}  {view.num_runs} runs: ").append(describe_states(view.states, coloured=coloured))]
    if not view.num_runs:
        lines = []
    lines += [*_table(view, width, coloured)]
    lines += [Text(f"{notice.run}  {notice.text}") for notice in view.notices]
    said = advice(view)
    if said:
        what, commands, remark = said
        return [
            *lines,
            Text(what),
            *(Text(f"    {command}") for command in commands),
            *([Text(remark)] if remark else []),
        ]
    chart = view.charts[0]
    chart_height = min(max(height - len(lines) - 4, _LEAST_CHART_HEIGHT), 30)
    drawn = draw(chart, width, chart_height, Ink(coloured=coloured))
    caption = f"{chart.measure.title}, by task (bins of {chart.bin_size})"
    lines += [Text(), Text(caption), *drawn.split("\n")]
    return [*lines, Text(closing_hint(view))] if view.all_ended else lines


def _table(view: View, width: int, coloured: bool) -> list[Text]:
    table = fit_table(view.rows, width, coloured)
    if not table.rows:
        return []
    rows = [tuple(Text(column) for column in table.columns), *table.rows.values()]
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    return [_join(row, widths) for row in rows]


def _join(cells: tuple[Text, ...], widths: list[int]) -> Text:
    """One line of the table, its columns two apart."""
    line = Text()
    for cell, width in zip(cells, widths, strict=True):
        padding = " " * (width - cell.cell_len)
        line.append_text(Text(padding) + cell if cell.justify == "right" else cell + Text(padding)).append("  ")
    return line
