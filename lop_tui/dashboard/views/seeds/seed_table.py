"""The table of single seeds: its cells fitted to a width, the order of its rows, and the widget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from rich.text import Text
from textual import events

from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.runs.views import RunView
from lop_tui.dashboard.rows import STATES
from lop_tui.dashboard.settings import Sort
from lop_tui.dashboard.table import STATE_COLOURS
from lop_tui.dashboard.views.seeds.frame import SeedRow, Seeds
from lop_tui.dashboard.widgets.fitted import FittedTable
from lop_tui.words.formats import short_value

Order = tuple[Sort, bool]
"""Column to sort by, and whether from high to low."""
SORTS: tuple[Sort, ...] = get_args(Sort)
_COLUMNS = (*SORTS, "device")
#: Columns to drop first if not all fit.
_EXPENDABLE = ("device", "dormant", "best", "tasks", "drop", "state")
_NONE = Text("-", justify="right")


@dataclass(frozen=True)
class SeedCells:
    """Cells by column; each column is as wide as its widest cell."""

    columns: tuple[str, ...]
    headers: tuple[str, ...]
    """Headings with the metric's name, and an arrow at the column that sorts the rows."""
    rows: dict[str, tuple[Text, ...]]
    """Cells by seed."""


def in_order(seeds: Seeds, order_by: Order) -> Seeds:
    """Sort the rows, and those of the heat map; rows without a value come last."""
    sort, descending = order_by
    keys = [_key(row, sort) for row in seeds.rows]
    known = [i for i, key in enumerate(keys) if not math.isnan(key)]
    order = sorted(known, key=keys.__getitem__, reverse=descending)
    order += [i for i, key in enumerate(keys) if math.isnan(key)]
    heat = seeds.heat
    ordered = replace(heat, seeds=tuple(int(heat.seeds[i]) for i in order), values=heat.values[order])
    return replace(seeds, heat=ordered, rows=tuple(seeds.rows[i] for i in order))


def _key(row: SeedRow, sort: Sort) -> float:
    if sort == "seed":
        return row.run.seed
    if sort == "state":
        return STATES.index(row.run.state)
    if sort == "tasks":
        return row.run.tasks_done
    return getattr(row.summary, sort) if row.summary else math.nan


def fit_seeds(
    seeds: Seeds, order: Order, width: int, coloured: bool = True, ascii_only: bool = False, gap: int = 2
) -> SeedCells:
    """Fit the rows to `width` characters: drop columns that do not fit, never cut numbers.

    Args:
        gap: number of characters that a column is wider than its content.
    """
    sort, descending = order
    measure, problem = lookup.metric(seeds.heat.measure.name), seeds.group.problem
    is_of_headline = measure.name in (problem.headline, *problem.together)
    arrow = ("v" if descending else "^") if ascii_only else ("▼" if descending else "▲")
    headers = {column: _heading(column, measure, is_of_headline) for column in _COLUMNS}
    headers[sort] += f" {arrow}"
    cells = {str(row.run.seed): _cells(row, measure.name, coloured) for row in seeds.rows}
    columns = [column for column in _COLUMNS if column == sort or any(_has(row.run, column) for row in seeds.rows)]
    for expendable in _EXPENDABLE:
        if _total(columns, headers, list(cells.values()), gap) <= width:
            break
        if expendable in columns and expendable != sort:
            columns.remove(expendable)
    return SeedCells(
        tuple(columns),
        tuple(headers[column] for column in columns),
        {seed: tuple(row[column] for column in columns) for seed, row in cells.items()},
    )


def _has(run: RunView, column: str) -> bool:
    """Whether a column has something to show, or may have later."""
    if column == "dormant":
        return not run.series or "dormant_proportion" in run.series
    return column != "device" or _where(run) != "-"


def _heading(column: str, measure: Metric, is_of_headline: bool) -> str:
    """Return a heading; "best" only applies to headline metrics and similar ones."""
    if column == "best" and not is_of_headline:
        return "highest" if measure.better == "higher" else "lowest"
    if column == "drop" and measure.better == "lower":
        return "rise"
    return "dormant %" if column == "dormant" else column


def _total(columns: Sequence[str], headers: dict[str, str], rows: Sequence[dict[str, Text]], gap: int) -> int:
    return sum(max(len(headers[column]), *(row[column].cell_len for row in rows)) + gap for column in columns)


def _cells(row: SeedRow, metric: str, coloured: bool) -> dict[str, Text]:
    run, summary = row.run, row.summary
    cells = {
        "seed": Text(str(run.seed), justify="right"),
        "state": Text(run.state, style=STATE_COLOURS[run.state] if coloured else ""),
        "tasks": Text(f"{run.tasks_done}/{run.num_tasks}", justify="right"),
        "device": Text(_where(run)),
    }
    for column in ("last", "best", "drop", "dormant"):
        of = "dormant_proportion" if column == "dormant" else metric
        cells[column] = _value(getattr(summary, column), of) if summary else _NONE
    return cells


def _where(run: RunView) -> str:
    """Return a run's device: ``cpu``; for a cluster's job ``cuda:0 node7 12_3``."""
    parts = (run.status.device, run.status.host, run.status.job) if run.status.job else (run.status.device,)
    return " ".join(part for part in parts if part) or "-"


def _value(value: float, metric: str) -> Text:
    return _NONE if math.isnan(value) else Text(short_value(value, lookup.metric(metric).scale), justify="right")


class SeedTable(FittedTable):
    """One row per seed, with its number as the key."""

    def __init__(self) -> None:
        super().__init__()
        self._seeds: Seeds | None = None
        self._order: Order = ("seed", False)
        self._ascii = False

    @property
    def seed(self) -> int | None:
        """Return the seed of the row under the cursor."""
        return None if self.selected is None else int(self.selected)

    def show(self, seeds: Seeds, order: Order, ascii_only: bool) -> None:
        """Update the table; `seeds` are already sorted."""
        self._seeds, self._order, self._ascii = seeds, order, ascii_only
        if self.size.width:
            self._update()

    def on_resize(self, event: events.Resize) -> None:
        self._update()

    def _update(self) -> None:
        if self._seeds is None:
            return
        width = self.scrollable_content_region.width
        cells = fit_seeds(self._seeds, self._order, width, not self.app.no_color, self._ascii)
        self.fill(cells.columns, cells.headers, cells.rows)
