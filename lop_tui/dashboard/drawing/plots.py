"""Draw a chart as coloured text. The only module that uses plotext.

plotext draws the axes. Everything else is drawn over its cells: the strong line of each setting first; bands tint their
background, the more of half a cell they cover the stronger; seeds, raw means and published levels only use cells that
the strong lines left blank, so a mean is always visible. Without colour each line consists of its own letter-like
marker; in colour, a line has occasional markers if there are more lines than colours.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import plotext
from rich.text import Text

from lop_tui.dashboard.drawing.axes import LABEL_WIDTH, Axis
from lop_tui.dashboard.drawing.canvas import Canvas, Ink, PlotArea, Rgb
from lop_tui.dashboard.drawing.chart import Chart, Line, Style
from lop_tui.dashboard.drawing.layers import (
    Frame,
    band_shades,
    dots_of,
    fitted_axis,
    put_breaks,
    put_cursor,
    put_faint,
    put_markers,
    put_marks,
    put_strong,
    put_zero_line,
    soften_bands,
    strokes_of,
)

__all__ = ["Ink", "Painting", "PlotArea", "Rgb", "draw", "paint", "plot_area", "sample"]

Ticks = tuple[tuple[float, str], ...]
"""Position on the axis, and label."""

_AXES_IN_ASCII = str.maketrans("┤├┼└┘┬┴─│", "+++++++-|")


def plot_area(width: int, height: int) -> PlotArea:
    """Return where data are drawn in a chart of that size: the same for every chart."""
    left = LABEL_WIDTH + 1
    return PlotArea(left, 0, max(0, width - left), max(0, height - 2))


def draw(
    chart: Chart,
    width: int,
    height: int,
    ink: Ink,
    *,
    show_seeds: bool = False,
    window: tuple[float, float] | None = None,
    cursor: float | None = None,
) -> Text:
    """Draw a chart as `height` lines of `width` characters; blank if that is too small.

    Args:
        show_seeds: draw every seed as a faint line, instead of the bands.
        window: the visible range of x, None: all; the y axis is fitted to the visible values.
        cursor: x of a vertical line.
    """
    return paint(chart, width, height, ink, show_seeds=show_seeds, window=window).with_cursor(cursor)


@dataclass(frozen=True)
class Painting:
    """A chart without its cursor, which can move at little cost."""

    canvas: Canvas
    area: PlotArea
    window: tuple[float, float]
    ink: Ink
    of_bands: np.ndarray
    """Cells of the area that only show the edge of a band."""

    def with_cursor(self, cursor: float | None) -> Text:
        """Return the chart as text, with a vertical line at x = `cursor` if that is visible."""
        column = self.area.column_of(cursor, self.window) if cursor is not None and self.area.fits else None
        if column is None:
            return self.canvas.to_text(self.ink)
        canvas = self.canvas.copy()
        put_cursor(canvas.part(self.area), column - self.area.left, self.ink, self.of_bands)
        return canvas.to_text(self.ink)


def paint(
    chart: Chart,
    width: int,
    height: int,
    ink: Ink,
    *,
    show_seeds: bool = False,
    window: tuple[float, float] | None = None,
) -> Painting:
    """Draw all of a chart except its cursor, see `draw`."""
    area = plot_area(width, height)
    window = window if window and window[0] < window[1] else (chart.x.low, chart.x.high)
    if not area.fits or area.rows < 2:
        return Painting(Canvas.blank(width, height), PlotArea(0, 0, 0, 0), window, ink, np.zeros((0, 0), dtype=bool))
    dots = dots_of(ink)
    strokes = strokes_of(chart, window, show_seeds, area.columns * dots.wide)
    y = fitted_axis(chart, strokes, window, show_seeds)
    frame = Frame(area, Axis(*window), y, dots)
    canvas = _axes(chart, frame, width, height, ink)
    data = canvas.part(area)
    put_strong(data, chart, frame, strokes, ink)
    put_markers(data, chart, frame, strokes, ink)
    shades = band_shades(data, chart, frame, ink) if ink.coloured and not show_seeds else None
    free = data.is_blank
    put_faint(data, chart, frame, [stroke for stroke in strokes if not stroke.strong], ink)
    put_marks(data, chart, frame, free, ink)
    put_breaks(data, chart, frame)
    if chart.zero_line:
        put_zero_line(data, frame, ink)
    of_bands = np.zeros_like(free) if shades is None or ink.ascii else soften_bands(data, shades, ink)
    return Painting(canvas, area, frame.window, ink, of_bands)


def sample(style: Style | Line, coloured: bool = True) -> Text:
    """Return two characters that show a line in a legend, with its marker if the line has one."""
    if not coloured:
        return Text(style.marker * 2)
    return Text(f"━{style.marker}" if style.is_marked else "━━", style=style.colour)


def _axes(chart: Chart, frame: Frame, width: int, height: int, ink: Ink) -> Canvas:
    """Return the axes with their ticks, to draw on."""
    x, y = frame.x, frame.y
    across = x.ticks(max(4, width // 10), least_step=0 if chart.x_unit in ("steps", "hours", "minutes") else 1)
    upwards = [(at, label.rjust(LABEL_WIDTH)) for at, label in y.ticks(max(3, 2 * height // 5))]
    return _with_plotext(x, y, tuple(across), tuple(upwards), width, height, ink.ascii).copy()


@lru_cache(maxsize=64)
def _with_plotext(x: Axis, y: Axis, x_ticks: Ticks, y_ticks: Ticks, width: int, height: int, is_ascii: bool) -> Canvas:
    """Draw axes with plotext, which takes longer than all the rest of a chart; axes change rarely."""
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.plotsize(width, height)
    plotext.theme("clear")
    plotext.xaxes(True, False)
    plotext.yaxes(True, False)
    plotext.xlim(x.low, x.high)
    plotext.ylim(y.low, y.high)
    plotext.xticks(*map(list, zip(*x_ticks, strict=True)))
    plotext.yticks(*map(list, zip(*y_ticks, strict=True)))
    # Without data plotext draws no axes.
    plotext.plot([x.low], [y.low], marker=" ")
    text: str = plotext.build()
    return Canvas.from_ansi(text.translate(_AXES_IN_ASCII) if is_ascii else text, width, height)
