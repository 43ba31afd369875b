"""A metric of every seed over tasks, as coloured text: a row for each seed, or half a row if there are many.

The colours are viridis: perceptually uniform, suitable for colour-blind readers, legible on dark and light themes.
Without colour, or in ASCII, darker characters mean higher values.
"""

from dataclasses import dataclass, replace

import numpy as np
from rich.text import Text

from lop_engine.experiment.components import is_log
from lop_tui.dashboard.drawing.axes import HUGE, Axis
from lop_tui.dashboard.drawing.canvas import NONE, Canvas, Ink, PlotArea, blend, pack
from lop_tui.dashboard.drawing.chart import Heat
from lop_tui.dashboard.drawing.layers import in_units
from lop_tui.dashboard.drawing.raster import dot_of
from lop_tui.words.formats import BREAK, BREAK_LEGEND, significant

_VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ]
)
_NUM_COLOURS = 32
_RAMP = np.array(list(".:-=+*#%@"))
"""A blank means no value."""
_LARGEST_THICKNESS = 3
_ABSENT_OPACITY = 0.5
_LEGEND_COLUMNS = 16


@dataclass(frozen=True)
class HeatArea:
    """Positions of the seeds in a text."""

    area: PlotArea
    seeds: tuple[int, ...]
    """The visible seeds, from the top."""
    first: int
    """Place of the first visible seed among all."""
    halves: int
    """Half rows per seed: 1, or twice the number of its rows."""

    def seed_at(self, row: int) -> int | None:
        """Return the seed in a row of the text (the upper one of two), None if there is none."""
        place = 2 * (row - self.area.top) // self.halves
        return self.seeds[place] if 0 <= row - self.area.top < self.area.rows and place < len(self.seeds) else None

    def row_of(self, seed: int | None) -> int | None:
        """Return the first row of the text that shows `seed`."""
        return self.area.top + self.seeds.index(seed) * self.halves // 2 if seed in self.seeds else None


def heat_area(table: Heat, width: int, height: int, ink: Ink, selected: int | None = None) -> HeatArea:
    """Return the data area of a heat map of that size; if not all seeds fit, those around the `selected` one."""
    number = len(str(max(table.seeds, default=0)))
    left = 2 + number + (len("seed ") if width >= 40 else 0)
    area = PlotArea(left, 1, max(0, width - left), max(0, height - 3))
    num_seeds = len(table.seeds)
    if num_seeds <= area.rows:
        halves = 2 * max(1, min(_LARGEST_THICKNESS, area.rows // max(1, num_seeds)))
    else:
        halves = 1 if _in_colour(ink) else 2
    num_shown = min(num_seeds, 2 * area.rows // halves)
    place = table.seeds.index(selected) if selected in table.seeds else 0
    first = min(max(0, place - num_shown // 2), num_seeds - num_shown)
    # The axis is directly below the last seed.
    rows = -(-num_shown * halves // 2) if num_shown else area.rows
    return HeatArea(replace(area, rows=rows), table.seeds[first : first + num_shown], first, halves)


def draw_heat(
    table: Heat, width: int, height: int, ink: Ink, *, selected: int | None = None, cursor: float | None = None
) -> Text:
    """Draw a heat map as `height` lines of `width` characters; blank if that is too small.

    Args:
        selected: a seed that is marked and always visible (see `heat_area`).
        cursor: a task, whose column is marked.
    """
    canvas = Canvas.blank(width, height)
    where = heat_area(table, width, height, ink, selected)
    if not where.area.fits:
        return canvas.to_text(ink)
    values = in_units(_by_column(table, where), table.measure.scale)
    limits = _limits(table)
    share = np.full(values.shape, np.nan)
    if limits:
        low, high = limits
        # If all values are equal, use the middle of the scale.
        span, start = (high - low, low) if high > low else (1, low - 0.5)
        share = (np.clip(values, low, high) - start) / span
    data = canvas.part(where.area)
    _put_shares(data, share, where, ink)
    _put_breaks(data, table, where, ink)
    _put_labels(canvas, where, selected, ink)
    _put_axis(canvas, table, where.area, cursor, ink)
    if limits:
        _put_legend(canvas, table, where.area, limits, ink)
    return canvas.to_text(ink)


def _in_colour(ink: Ink) -> bool:
    return ink.coloured and not ink.ascii


def _limits(table: Heat) -> tuple[float, float] | None:
    """Return the smallest and largest value of all seeds, in the axis' units; None if there are none."""
    values = table.values[np.isfinite(table.values)]
    values = in_units(values[values > 0] if is_log(table.measure.scale) else values, table.measure.scale)
    return (float(values.min()), float(values.max())) if values.size else None


def _by_column(table: Heat, where: HeatArea) -> np.ndarray:
    """Return the mean of the bins centred in each column, else the bin that covers it; (visible seeds, columns)."""
    columns = where.area.columns
    values = table.values[where.first : where.first + len(where.seeds)]
    values = np.where(np.isfinite(values), np.clip(values, -HUGE, HUGE), np.nan)
    num_tasks = max(1, table.num_tasks)
    within = (table.task >= 0) & (table.task <= num_tasks)
    task, values = table.task[within], values[:, within]
    if not values.size:
        return np.full((len(where.seeds), columns), np.nan)
    x = np.linspace(0, num_tasks, columns)
    nearest = np.abs(task - x[:, None]).argmin(1)
    reached = np.abs(task[nearest] - x) <= (table.bin_size + 1) / 2
    drawn = np.where(reached, values[:, nearest], np.nan)
    column = dot_of(task / num_tasks, columns)
    present = np.isfinite(values)
    total, number = np.zeros((columns, len(values))), np.zeros((columns, len(values)))
    np.add.at(total, column, np.where(present, values, 0).T)
    np.add.at(number, column, present.T)
    mean = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    has_bin = np.isin(np.arange(columns), column)
    return np.where(has_bin, mean.T, drawn)


def _put_shares(data: Canvas, share: np.ndarray, where: HeatArea, ink: Ink) -> None:
    """Draw shares 0 .. 1 of the scale, shape (visible seeds, columns); NaN as a faint dot."""
    rows, columns = data.chars.shape
    place = np.arange(2 * rows) // where.halves
    is_seed = place < len(where.seeds)
    halves = np.full((2 * rows, columns), np.nan)
    halves[is_seed] = share[place[is_seed]]
    upper, lower = halves[::2], halves[1::2]
    absent = np.isnan(upper) & np.isnan(lower) & is_seed[::2, None]
    faint = pack(blend(ink.axes, ink.background, _ABSENT_OPACITY))
    if not ink.ascii:
        data.put(absent, "·", faint)
    if not _in_colour(ink):
        data.put(~np.isnan(upper), _RAMP[_level(upper, len(_RAMP))], NONE)
        return
    over, under = (np.where(np.isnan(half), NONE, _colours()[_level(half, _NUM_COLOURS)]) for half in (upper, lower))
    data.background[:] = under
    data.put((over != under) & (over != NONE), "▀", over)
    only_lower = (over == NONE) & (under != NONE)
    data.background[only_lower] = NONE
    data.put(only_lower, "▄", under)


def _put_breaks(data: Canvas, table: Heat, where: HeatArea, ink: Ink) -> None:
    """Mark where a seed becomes non-finite or diverges."""
    rows, columns = data.chars.shape
    strongest = pack(tuple(255 - part for part in ink.background))  # type: ignore[arg-type]
    for place, task in table.breaks:
        row = (place - where.first) * where.halves // 2
        if 0 <= place - where.first < len(where.seeds) and row < rows:
            cell = np.zeros(data.chars.shape, bool)
            cell[row, int(dot_of(np.array(task / max(1, table.num_tasks)), columns))] = True
            data.put(cell, BREAK, strongest)


def _level(share: np.ndarray, num_levels: int) -> np.ndarray:
    return np.minimum(np.nan_to_num(share) * num_levels, num_levels - 1).astype(np.int64)


def _colours() -> np.ndarray:
    """Return the scale as 0xrrggbb, shape (_NUM_COLOURS,)."""
    at = np.linspace(0, len(_VIRIDIS) - 1, _NUM_COLOURS)
    packed: np.ndarray = np.asarray(
        pack(np.stack([np.interp(at, np.arange(len(_VIRIDIS)), part) for part in _VIRIDIS.T], axis=-1))
    )
    return packed


def _put_labels(canvas: Canvas, where: HeatArea, selected: int | None, ink: Ink) -> None:
    """Write each seed's number left of its row, and mark the selected one; two seeds in a row share a label."""
    area = where.area
    width = area.left - 2
    words = "seed " if width > len("seed ") else ""
    for seed in reversed(where.seeds):
        row = where.row_of(seed)
        if row is not None and (seed == selected or row != where.row_of(selected)):
            canvas.write(row, 1, f"{words}{seed}".rjust(width))
            if seed == selected:
                strongest = pack(tuple(255 - part for part in ink.background))  # type: ignore[arg-type]
                canvas.write(row, 0, ">" if ink.ascii else "▶", strongest)
                canvas.foreground[row, 1 : area.left - 1] = strongest
    for row in range(area.top, area.top + area.rows):
        canvas.write(row, area.left - 1, "|" if ink.ascii else "│")


def _put_axis(canvas: Canvas, table: Heat, area: PlotArea, cursor: float | None, ink: Ink) -> None:
    """Draw the x axis with round ticks, and a mark below the column of the task `cursor`."""
    axis = Axis(0, max(1, table.num_tasks) * table.x_per_task)
    window = (axis.low, axis.high)
    corner, line, tick, mark, upright = "+-+^|" if ink.ascii else "└─┬▲│"
    row = area.top + area.rows
    canvas.write(row, area.left - 1, corner + line * area.columns)
    end = 0
    for x, label in axis.ticks(max(2, area.columns // 10), least_step=1):
        column = area.column_of(x, window)
        if column is None:
            continue
        start = min(column - len(label) // 2, canvas.chars.shape[1] - len(label))
        if start >= end:
            canvas.write(row, column, tick)
            canvas.write(row + 1, start, label)
            end = start + len(label) + 1
    column = None if cursor is None else area.column_of(cursor * table.x_per_task, window)
    if column is not None:
        canvas.write(row, column, mark)
        data = canvas.part(area)
        free = np.isin(data.chars, (" ", "·")) & (np.arange(area.columns) == column - area.left)
        data.put(free & (data.background != NONE), upright, pack(ink.background))
        data.put(free & (data.background == NONE), upright, pack(ink.axes))


def _put_legend(canvas: Canvas, table: Heat, area: PlotArea, limits: tuple[float, float], ink: Ink) -> None:
    """Draw the metric, and the scale from its lowest to its highest value, as far as they fit."""
    measure = table.measure
    low, high = (significant(10.0**limit if is_log(measure.scale) else limit) for limit in limits)
    room = canvas.chars.shape[1] - area.left
    scale = min(_LEGEND_COLUMNS, room - len(low) - len(high) - 2)
    if scale < 2:
        return
    title = f"{measure.heading}  "
    column = area.left
    if len(title) + len(low) + scale + len(high) + 2 <= room:
        canvas.write(0, column, title)
        column += len(title)
    canvas.write(0, column, f"{low} ")
    column += len(low) + 1
    share = np.linspace(0, 1, scale)
    if _in_colour(ink):
        canvas.background[0, column : column + scale] = _colours()[_level(share, _NUM_COLOURS)]
    else:
        canvas.write(0, column, "".join(_RAMP[_level(share, len(_RAMP))]))
    canvas.write(0, column + scale, f" {high}")
    column += scale + len(high) + 3
    if table.breaks and column + len(BREAK_LEGEND) <= canvas.chars.shape[1]:
        canvas.write(0, column, BREAK_LEGEND)
