"""The one place that knows plotext: a chart as coloured text.

The mean of each setting is a line of braille dots; its band tints the background of the cells that it covers, the
more of a cell the stronger, so that line and band never hide each other. Without colour each line has
a letter-like marker of its own.
"""

from dataclasses import dataclass

import numpy as np
import plotext
from rich.color import Color
from rich.style import Style
from rich.text import Text

from lop_tui.dashboard.axes import Axis
from lop_tui.dashboard.model import Chart, Line

Rgb = tuple[int, int, int]

LABEL_WIDTH = 5
"""Every y axis is as wide, so that the x axes of all charts stand in line."""
_BAND_OPACITY = 0.4
_LEAST_SHARE = 0.05
_SEED_OPACITY = 0.45


@dataclass(frozen=True)
class Ink:
    """Colours of all that is not a line; without `coloured` only characters tell lines apart."""

    background: Rgb = (0, 0, 0)
    axes: Rgb = (128, 128, 128)
    coloured: bool = True


def draw(chart: Chart, width: int, height: int, ink: Ink, show_seeds: bool = False) -> Text:
    """Draw a chart as `height` lines of `width` characters."""
    y = chart.y_of_seeds if show_seeds else chart.y
    figure = _figure(chart.x, y, width, height)
    for line in chart.lines:
        if show_seeds:
            faint = _blend(_rgb(line.colour), ink.background, _SEED_OPACITY)
            for seed in line.seeds:
                _plot(seed.task, seed.mean, y, line.marker if not ink.coloured else "braille", faint)
    for line in chart.lines:
        _plot(line.curve.task, line.curve.mean, y, "braille" if ink.coloured else line.marker, _rgb(line.colour))
    text = Text.from_ansi(figure.build().rstrip("\n"), style=Style(color=Color.from_rgb(*ink.axes)), no_wrap=True)
    if not ink.coloured:
        return Text(text.plain, no_wrap=True)
    if not show_seeds:
        _tint_bands(text, chart, y, ink.background)
    return text


def _figure(x: Axis, y: Axis, width: int, height: int) -> plotext:
    """An empty figure: a left and a lower axis with our own limits and ticks."""
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.plotsize(width, height)
    plotext.theme("clear")
    plotext.xaxes(True, False)
    plotext.yaxes(True, False)
    plotext.xlim(x.low, x.high)
    plotext.ylim(y.low, y.high)
    for axis, most, set_ticks, align in (
        (x, max(4, width // 10), plotext.xticks, 0),
        (y, max(3, 2 * height // 5), plotext.yticks, LABEL_WIDTH),
    ):
        ticks = axis.ticks(most)
        set_ticks([position for position, _ in ticks], [label.rjust(align) for _, label in ticks])
    return plotext


def _plot(task: np.ndarray, values: np.ndarray, y: Axis, marker: str, colour: Rgb) -> None:
    finite = np.isfinite(values)
    if finite.any():
        plotext.plot(task[finite].tolist(), y.place(values[finite]).tolist(), marker=marker, color=colour)


def _tint_bands(text: Text, chart: Chart, y: Axis, background: Rgb) -> None:
    """Tint the background of each cell by the share of it that lies within a band."""
    lines = text.plain.split("\n")
    rows = next((row for row, line in enumerate(lines) if "└" in line), 0)
    left = lines[rows].find("└") + 1
    columns = len(lines[rows]) - left
    if rows < 2 or columns < 2:
        return
    tint = np.tile(np.array(background, dtype=float), (rows, columns, 1))
    touched = np.zeros((rows, columns), dtype=bool)
    for line in chart.lines:
        share = _share_in_band(line, chart.x, y, rows, columns)
        tint += _BAND_OPACITY * share[:, :, None] * (np.array(_rgb(line.colour)) - tint)
        touched |= share > _LEAST_SHARE
    starts = np.cumsum([0, *(len(line) + 1 for line in lines)]) + left
    for row, column in np.argwhere(touched):
        start = int(starts[row] + column)
        text.stylize(Style(bgcolor=Color.from_rgb(*tint[row, column])), start, start + 1)


def _share_in_band(line: Line, x: Axis, y: Axis, rows: int, columns: int) -> np.ndarray:
    """How much of each cell lies within the line's band, 0 .. 1, shape (rows, columns)."""
    curve = line.curve
    if len(curve.task) < 2:
        return np.zeros((rows, columns))
    task = x.low + (np.arange(columns) + 0.5) / columns * (x.high - x.low)
    # In rows from the top, as cells are counted.
    low, high = (
        np.interp(task, curve.task, (y.high - y.place(values)) / (y.high - y.low) * rows, np.nan, np.nan)
        for values in (curve.low, curve.high)
    )
    top = np.arange(rows)[:, None]
    share: np.ndarray = np.nan_to_num(np.minimum(low, top + 1) - np.maximum(high, top))
    return np.clip(share, 0, 1)


def _rgb(colour: str) -> Rgb:
    """The three parts of ``#rrggbb``."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _blend(colour: Rgb, background: Rgb, opacity: float) -> Rgb:
    red, green, blue = (
        round(opacity * over + (1 - opacity) * under) for over, under in zip(colour, background, strict=True)
    )
    return red, green, blue


def sample(colour: str, marker: str, coloured: bool = True) -> Text:
    """Two characters that stand for a line in a legend."""
    return Text("━━", style=colour) if coloured else Text(marker * 2)
