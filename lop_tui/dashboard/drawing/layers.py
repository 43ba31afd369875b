"""Layers drawn over the axes and lines of a chart: bands, seeds, published levels, a cursor. numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lop_engine.experiment.components import Scale, factor_of, is_log
from lop_tui.dashboard.drawing.axes import HUGE, Axis, value_axis
from lop_tui.dashboard.drawing.canvas import NONE, Canvas, Ink, PlotArea, Rgb, blend, pack, rgb, unpack
from lop_tui.dashboard.drawing.chart import Chart, Line, Points
from lop_tui.dashboard.drawing.raster import (
    BRAILLE,
    QUADRANTS,
    SINGLE,
    SINGLE_ASCII,
    Dots,
    by_cell,
    characters,
    cut,
    dot_of,
    light,
    light_joined,
    thin,
)
from lop_tui.words.formats import BREAK

_BAND_OPACITY = 0.4
_BAND_STEPS = 4
"""Shades at the edge of a band; more would split the text into many spans without a visible difference."""
_FAINT_OPACITY = 0.45
_MARK_OPACITY = 0.75
_MARKERS_OF_LINE = 3
_GOLDEN = 0.618
"""Fractional parts of its multiples are well spread for any count."""
_HALF = "▄"
"""The lower half of a cell, where a band begins or ends."""
_ZERO_OPACITY = 0.6
_CURSOR_OPACITY = 0.35
_NOT_POSITIVE = -1e9
"""Replaces the logarithm of values <= 0: so low that values interpolated from it are invalid, too."""


@dataclass(frozen=True)
class Stroke:
    """The pieces of a line, or of all its seeds, within the window: see `cut`; values in the y axis' units."""

    number: int
    """Number of the line."""
    pieces: np.ndarray
    strong: bool


@dataclass(frozen=True)
class Frame:
    """Positions of everything in one drawing."""

    area: PlotArea
    x: Axis
    y: Axis
    dots: Dots

    @property
    def window(self) -> tuple[float, float]:
        return self.x.low, self.x.high

    def height_of(self, values: np.ndarray) -> np.ndarray:
        """Return the share 0 .. 1 of the y axis for values in its units."""
        return (np.clip(values, self.y.low, self.y.high) - self.y.low) / (self.y.high - self.y.low)

    def rows_of(self, values: np.ndarray) -> np.ndarray:
        """Return the row, counted from the top, for values in the y axis' units."""
        from_below = dot_of(self.height_of(values), self.area.rows * self.dots.high) // self.dots.high
        return self.area.rows - 1 - from_below


def dots_of(ink: Ink) -> Dots:
    if ink.ascii:
        return SINGLE_ASCII
    if not ink.coloured:
        return SINGLE
    return BRAILLE if ink.markers == "braille" else QUADRANTS


def in_units(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Convert values of the metric to the axis' units; on a log scale `_NOT_POSITIVE` for values <= 0."""
    values = np.clip(np.asarray(values, dtype=float), -HUGE, HUGE)
    values = factor_of(scale) * values
    if is_log(scale):
        without = np.where(np.isnan(values), np.nan, _NOT_POSITIVE)
        return np.log10(values, out=without, where=values > 0)
    return values


def strokes_of(chart: Chart, window: tuple[float, float], show_seeds: bool, columns: int) -> list[Stroke]:
    """Return everything that is drawn as a line, the strong ones and the faint ones, on `columns` of dots."""
    strokes = []
    for number, line in enumerate(chart.lines):
        strong = line.curve.mean if line.smooth is None else line.smooth
        faint = [] if line.smooth is None else [(line.x, line.curve.mean)]
        faint += line.seeds if show_seeds else ()
        for lines, is_strong in (([(line.x, strong)], True), (faint, False)):
            thinned = [thin(*points, window, columns) for points in lines]
            strokes.append(Stroke(number, _cut_all(thinned, chart.measure.scale, window), is_strong))
    return strokes


def fitted_axis(chart: Chart, strokes: list[Stroke], window: tuple[float, float], show_seeds: bool) -> Axis:
    """Return a y axis that fits everything visible."""
    measure = chart.measure
    visible = [stroke.pieces[[1, 3]] for stroke in strokes]
    visible += [
        in_units(np.array([value]), measure.scale)
        for line in chart.lines
        for x, value in line.marks
        if window[0] <= x <= window[1]
    ]
    # A band that reaches below zero cannot be drawn on a log scale; use the means.
    edges = [] if show_seeds else [(line.x, line.curve.high) for line in chart.lines]
    edges += [] if show_seeds or is_log(measure.scale) else [(line.x, line.curve.low) for line in chart.lines]
    band = _cut_all(edges, measure.scale, window)[[1, 3]]
    if chart.zero_line and band.size:  # a few wide intervals in early bins would flatten everything else
        band = np.quantile(band, [0.05, 0.95])
    values = [_metric(one, measure.scale) for one in (*visible, band)]
    values += [np.zeros(1)] if chart.zero_line else []
    return value_axis(values, measure.scale, measure.from_zero, measure.least_span, bounded=not chart.zero_line)


def _cut_all(lines: Sequence[Points], scale: Scale, window: tuple[float, float]) -> np.ndarray:
    """Return pieces of several lines at once, see `cut`; values in the y axis' units."""
    if not lines:
        return np.empty((4, 0))
    x, values = (np.concatenate(parts) for parts in zip(*lines, strict=True))
    series = np.repeat(np.arange(len(lines)), [len(one) for one, _ in lines])
    return cut(x, in_units(values, scale), window, series)


def _metric(units: np.ndarray, scale: Scale) -> np.ndarray:
    """Undo `in_units`; NaN for values without a logarithm."""
    if is_log(scale):
        units = np.where(units > -310, 10.0 ** np.maximum(units, -310), np.nan)
    return units / factor_of(scale)


def band_shades(data: Canvas, chart: Chart, frame: Frame, ink: Ink) -> np.ndarray:
    """Tint the background of each cell by the share of it that lies within a band.

    Returns:
        The tints of the upper and lower half of each cell, 0xrrggbb or NONE, shape (rows, 2, columns).
    """
    rows, columns = data.chars.shape
    background = np.array(ink.background, dtype=float)
    tint = np.tile(background, (rows, 2, columns, 1))
    touched = np.zeros((rows, 2, columns), dtype=bool)
    for line in chart.lines:
        if len(line.x) > 1:
            share = np.rint(_share_in_band(line, frame) * _BAND_STEPS) / _BAND_STEPS
            tint += _BAND_OPACITY * share[..., None] * (np.array(rgb(line.colour)) - tint)
            touched |= share > 0
    either = touched.any(1)
    data.background[either] = pack(tint.mean(1)[either])
    shades: np.ndarray = np.where(touched, pack(tint), NONE)
    return shades


def soften_bands(data: Canvas, shades: np.ndarray, ink: Ink) -> np.ndarray:
    """Show both halves of blank cells: the upper one as the background, the lower one as a half block.

    Returns:
        The mask of these cells.
    """
    upper, lower = shades[:, 0], shades[:, 1]
    differ = data.is_blank & (upper != lower)
    data.put(differ, _HALF, np.where(lower == NONE, pack(ink.background), lower))
    data.background[differ] = upper[differ]
    return differ


def put_strong(data: Canvas, chart: Chart, frame: Frame, strokes: list[Stroke], ink: Ink) -> None:
    """Draw the strong line of each setting; in a cell that several cross, the last one is visible."""
    dots = frame.dots
    high, wide = frame.area.rows * dots.high, frame.area.columns * dots.wide
    for stroke in strokes:
        if not stroke.strong or not stroke.pieces.size:
            continue
        line = chart.lines[stroke.number]
        x, values = (np.append(stroke.pieces[i, :1], stroke.pieces[i + 2]) for i in (0, 1))
        column = dot_of((np.clip(x, frame.x.low, frame.x.high) - frame.x.low) / (frame.x.high - frame.x.low), wide)
        cells = by_cell(light_joined(dot_of(frame.height_of(values), high), column, (high, wide)), dots)
        is_letter = ink.ascii or not ink.coloured
        data.put(
            np.any(cells, axis=(-1, -2)), line.marker if is_letter else characters(cells, dots), pack(rgb(line.colour))
        )


def put_markers(data: Canvas, chart: Chart, frame: Frame, strokes: list[Stroke], ink: Ink) -> None:
    """Draw the markers of marked lines, at different places for each line."""
    marked = [stroke for stroke in strokes if stroke.strong and chart.lines[stroke.number].is_marked]
    if not ink.coloured or ink.ascii:
        return
    for nth, stroke in enumerate(marked):
        line, (x, values, _, _) = chart.lines[stroke.number], stroke.pieces
        for part in range(_MARKERS_OF_LINE):
            share = (part + (nth * _GOLDEN + 0.5) % 1) / _MARKERS_OF_LINE
            if not len(x):
                continue
            at = int(np.abs(x - (x[0] + share * (x[-1] - x[0]))).argmin())
            column = frame.area.column_of(float(x[at]), frame.window)
            if column is not None:
                row = int(frame.rows_of(values[at : at + 1])[0])
                data.write(row, column - frame.area.left, line.marker, pack(rgb(line.colour)))


def _share_in_band(line: Line, frame: Frame) -> np.ndarray:
    """Return the share of each half cell that lies within the line's band, 0 .. 1, shape (rows, 2, columns)."""
    area, dots_high = frame.area, frame.dots.high
    x = np.linspace(frame.x.low, frame.x.high, area.columns)
    # Rows are counted from the top, like cells; dots are shorter.
    low, high = (
        area.rows - (0.5 + frame.height_of(in_units(band, frame.y.scale)) * (area.rows * dots_high - 1)) / dots_high
        for band in (line.curve.low, line.curve.high)
    )
    low, high = (np.interp(x, line.x, edge, np.nan, np.nan) for edge in (low, high))
    top = np.arange(2 * area.rows)[:, None] / 2
    share: np.ndarray = np.nan_to_num(np.minimum(low, top + 0.5) - np.maximum(high, top))
    return np.clip(2 * share, 0, 1).reshape(area.rows, 2, area.columns)


def put_faint(data: Canvas, chart: Chart, frame: Frame, strokes: list[Stroke], ink: Ink) -> None:
    """Draw faint lines into blank cells; where several meet, use the colour of the one with the most dots."""
    pieces = np.concatenate([np.empty((4, 0)), *(stroke.pieces for stroke in strokes)], axis=1)
    if not pieces.size:
        return
    dots, area = frame.dots, frame.area
    layer = np.repeat([stroke.number for stroke in strokes], [stroke.pieces.shape[1] for stroke in strokes])
    high, wide = area.rows * dots.high, area.columns * dots.wide
    columns = dot_of(np.clip((pieces[[0, 2]] - frame.x.low) / (frame.x.high - frame.x.low), 0, 1), wide)
    rows = high - 1 - dot_of(frame.height_of(pieces[[1, 3]]), high)
    ends = np.stack([rows[0], columns[0], rows[1], columns[1]])
    cells = by_cell(light(ends, layer, (len(chart.lines), high, wide)), dots)
    faint = np.array([_over(rgb(line.colour), ink, _FAINT_OPACITY) for line in chart.lines])
    most = cells.sum((-1, -2)).argmax(0)
    data.put(data.is_blank, characters(np.any(cells, axis=0), dots), faint[most])


def put_marks(data: Canvas, chart: Chart, frame: Frame, where: np.ndarray, ink: Ink) -> None:
    """Draw published levels into the cells of the mask `where`."""
    for line in chart.lines:
        for x, value in line.marks:
            column = frame.area.column_of(x, frame.window)
            (units,) = in_units(np.array([value]), frame.y.scale)
            if column is None or not frame.y.low <= units <= frame.y.high:
                continue
            cell = np.zeros_like(where)
            cell[frame.rows_of(units), column - frame.area.left] = True
            data.put(cell & where, "o" if ink.ascii else "◇", _over(rgb(line.colour), ink, _MARK_OPACITY))


def put_breaks(data: Canvas, chart: Chart, frame: Frame) -> None:
    """Mark on the lowest free cell where a seed becomes non-finite or diverges."""
    for line in chart.lines:
        for x in line.breaks:
            column = frame.area.column_of(x, frame.window)
            if column is None:
                continue
            cells = data.is_blank[:, column - frame.area.left]
            row = int(np.flatnonzero(cells)[-1]) if cells.any() else frame.area.rows - 1
            cell = np.zeros(data.chars.shape, bool)
            cell[row, column - frame.area.left] = True
            data.put(cell, BREAK, pack(rgb(line.colour)))


def put_zero_line(data: Canvas, frame: Frame, ink: Ink) -> None:
    """Draw a horizontal line at zero, if that is visible, into blank cells."""
    if is_log(frame.y.scale) or not frame.y.low <= 0 <= frame.y.high:
        return
    row = np.arange(frame.area.rows) == frame.rows_of(np.zeros(1))
    data.put(data.is_blank & row[:, None], "-" if ink.ascii else "─", _over(ink.axes, ink, _ZERO_OPACITY))


def put_cursor(data: Canvas, column: int, ink: Ink, of_bands: np.ndarray) -> None:
    """Draw a vertical line that hides nothing: a character in blank cells or in `of_bands`, a tint in the others."""
    line = np.arange(data.chars.shape[1]) == column
    is_blank = data.is_blank | of_bands
    blank, tinted = is_blank & line, ~is_blank & line
    data.put(blank, "|" if ink.ascii else "│", pack(ink.axes))
    under = data.background[tinted]
    under = np.where(under == NONE, pack(ink.background), under)
    data.background[tinted] = pack(unpack(under) + _CURSOR_OPACITY * (np.array(ink.axes) - unpack(under)))


def _over(colour: Rgb, ink: Ink, opacity: float) -> int:
    return pack(blend(colour, ink.background, opacity))
