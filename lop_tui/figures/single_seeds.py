"""The seeds of each group: thin lines, or a heat map of seeds by tasks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lop_engine.analysis import Group, SeedTable, seed_table
from lop_engine.analysis.seeds import breaks
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_tui.figures.look import (
    DEFAULT,
    Look,
    draw_curve,
    drawing,
    finish_axes,
    label_outer,
    legend_above,
    set_log_scale,
    sheet,
)
from lop_tui.figures.over_tasks import mark_breaks, name_task_axis
from lop_tui.figures.room import short
from lop_tui.words.formats import BREAK, BREAK_LEGEND

_MISSING = "#d9d9d9"
"""Colour of missing values in a heat map."""


def draw_seeds(groups: Sequence[Group], metric: str, look: Look = DEFAULT) -> Figure:
    """Draw one panel per group: a thin line per seed, and their mean."""
    measure, colours = lookup.metric(metric), look.colours_of(groups)
    with drawing(look):
        figure, panels = sheet(len(groups), look, sharey=True, sharex=True)
        tables = [_shown(group, metric, look) for group in groups]
        is_log = _set_scale(panels[0], measure, look, [table.values for table in tables])
        for panel, group, table in zip(panels, groups, tables, strict=True):
            for values in table.values:
                panel.plot(table.task, values * measure.factor, color=colours[group.label], linewidth=0.5, alpha=0.45)
            curve = look.drawn(group, metric)
            draw_curve(panel, curve, measure.factor, colours[group.label], Look(style=look.style, band="none"))
            panel.set_title(_heading(group), parse_math=False)
            mark_breaks(panel, [group], metric, colours, look)
        for panel in panels:
            name_task_axis(panel, groups, [look.drawn(group, metric) for group in groups], look)
            finish_axes(panel, measure, is_log)
        label_outer(panels)
    return figure


def draw_heatmap(groups: Sequence[Group], metric: str, look: Look = DEFAULT) -> Figure:
    """Draw one panel per group: a row per seed, a cell per bin, on one colour scale."""
    measure = lookup.metric(metric)
    with drawing(look):
        figure, panels = sheet(len(groups), look)
        tables = [_shown(group, metric, look) for group in groups]
        scale = _colour_scale(measure, look, [table.values * measure.factor for table in tables])
        image = None
        for panel, group, table in zip(panels, groups, tables, strict=True):
            image = _draw_cells(panel, table, measure.factor, scale)
            _mark_breaks(panel, group, metric, look)
            panel.set_title(_heading(group), parse_math=False)
            name_task_axis(panel, [group], [look.drawn(group, metric)], look)
            panel.set_xlim(*_edges(table)[[0, -1]])
            panel.set_ylabel("seed")
        if image is not None:
            grid = panels[0].get_gridspec()
            aspect = 20 * (grid.nrows if grid else 1)  # the same width for one row and for many
            figure.colorbar(image, ax=panels, label=measure.label, shrink=0.9, pad=0.02, aspect=aspect)
    return figure


def _heading(group: Group) -> str:
    begun = sum(bool(len(run.seconds)) for run in group.runs)
    return f"{short(group.label)}, {begun} of {len(group.runs)} seed{'s' * (len(group.runs) != 1)}"


def _shown(group: Group, metric: str, look: Look) -> SeedTable:
    """Return the bins that are drawn, with `task` and `bin_size` in the x axis' unit."""
    table, length = seed_table(group, metric, look.bin_size), group.x_per_task
    shown = (table.task >= look.tasks[0]) & (table.task <= look.tasks[1])
    return SeedTable(table.seeds, table.task[shown] * length, table.values[:, shown], table.bin_size * length)


def _set_scale(panel: Axes, measure: Metric, look: Look, values: Sequence[np.ndarray]) -> bool:
    """Set a log scale in all panels, if the metric asks for it; return whether it is set."""
    is_log = measure.scale == "log" if look.log is None else look.log
    return is_log and set_log_scale(
        panel, measure, [float(one) * measure.factor for table in values for one in table.flat]
    )


def _colour_scale(measure: Metric, look: Look, values: Sequence[np.ndarray]) -> Normalize:
    known = np.concatenate([table[np.isfinite(table)] for table in values])
    is_log = measure.scale == "log" if look.log is None else look.log
    if is_log and (known > 0).any():
        return LogNorm(known[known > 0].min(), known.max(), clip=True)
    middle, half = (known.max() + known.min()) / 2, max(np.ptp(known), measure.least_span, 1e-12) / 2
    return Normalize(middle - half, middle + half)


def _draw_cells(panel: Axes, table: SeedTable, factor: float, scale: Normalize) -> Any:
    rows = np.arange(len(table.seeds) + 1) - 0.5
    panel.set_facecolor(_MISSING)
    cells = np.ma.masked_invalid(table.values * factor)
    image = panel.pcolormesh(_edges(table), rows, cells, norm=scale, cmap="viridis", rasterized=True)
    panel.invert_yaxis()
    panel.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.yaxis.set_major_formatter(lambda row, _: _seed_at(table.seeds, row))
    return image


def _mark_breaks(panel: Axes, group: Group, metric: str, look: Look) -> None:
    """Mark in each seed's row where it becomes non-finite or diverges, and explain the mark."""
    first, last = look.tasks
    marks = [
        (int(task) * group.x_per_task, row)
        for row, run in enumerate(group.runs)
        for task in breaks(run, metric)
        if first <= task <= last
    ]
    if marks:
        mark = panel.scatter(
            [x for x, _ in marks], [row for _, row in marks], 24, marker=f"${BREAK}$", color="#d6453d", zorder=5
        )
        legend_above(panel, [mark], [BREAK_LEGEND.removeprefix(f"{BREAK} ")])


def _edges(table: SeedTable) -> np.ndarray:
    """Return the starts of the bins, and the end of the last one."""
    return np.append(table.task - table.bin_size / 2, table.task[-1] + table.bin_size / 2)


def _seed_at(seeds: np.ndarray, row: float) -> str:
    return str(seeds[int(row)]) if 0 <= row < len(seeds) else ""
