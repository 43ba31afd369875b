"""Draw many lines at once as dots, with numpy only."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dots:
    """Number of dots in a cell, and the character for each pattern of lit dots."""

    weights: np.ndarray
    """Value of each dot in a pattern's number, shape (dot rows, dot columns) of a cell."""
    characters: np.ndarray
    """Characters by pattern number; the first is blank."""

    @property
    def high(self) -> int:
        return int(self.weights.shape[0])

    @property
    def wide(self) -> int:
        return int(self.weights.shape[1])


BRAILLE = Dots(np.array([[1, 8], [2, 16], [4, 32], [64, 128]]), np.array([" ", *map(chr, range(0x2801, 0x2900))]))
QUADRANTS = Dots(np.array([[1, 2], [4, 8]]), np.array(list(" ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█")))
SINGLE = Dots(np.array([[1]]), np.array([" ", "·"]))
SINGLE_ASCII = Dots(np.array([[1]]), np.array([" ", "."]))


def cut(x: np.ndarray, values: np.ndarray, window: tuple[float, float], series: np.ndarray | None = None) -> np.ndarray:
    """Cut the straight pieces of lines to a range of x.

    Points that are not finite are left out and their neighbours joined; a single point is a piece without length.

    Args:
        x: shape (points,), rising within each line.
        values: shape (points,).
        series: number of the line that each point belongs to, shape (points,); None: one line.

    Returns:
        x and value at the start, x and value at the end; shape (4, pieces).
    """
    shown = np.isfinite(x) & np.isfinite(values)
    x, values = x[shown], values[shown]
    joined = np.ones(max(0, len(x) - 1), dtype=bool)
    if series is not None:
        joined = np.diff(series[shown]) == 0
    alone = np.ones(len(x), dtype=bool)
    alone[1:] &= ~joined
    alone[:-1] &= ~joined
    start = np.concatenate([np.flatnonzero(joined), np.flatnonzero(alone)])
    end = np.concatenate([np.flatnonzero(joined) + 1, np.flatnonzero(alone)])
    inside = (x[end] >= window[0]) & (x[start] <= window[1])
    start, end = start[inside], end[inside]
    run, rise = x[end] - x[start], values[end] - values[start]
    first, last = (
        np.divide(np.clip(edge, x[start], x[end]) - x[start], run, out=np.full(len(run), share), where=run > 0)
        for edge, share in zip(window, (0.0, 1.0), strict=True)
    )
    return np.stack(
        [x[start] + first * run, values[start] + first * rise, x[start] + last * run, values[start] + last * rise]
    )


def thin(x: np.ndarray, values: np.ndarray, window: tuple[float, float], columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Drop points that do not change the picture: keep the first, lowest, highest and last of each column of dots.

    Args:
        x: shape (points,), rising.
        values: shape (points,); those that are not finite are left out.
        window: the visible range of x; a point on either side of it is kept.
        columns: columns of dots in the window.
    """
    shown = np.isfinite(x) & np.isfinite(values)
    x, values = x[shown], values[shown]
    first, last = max(0, np.searchsorted(x, window[0]) - 1), np.searchsorted(x, window[1], "right") + 1
    x, values = x[first:last], values[first:last]
    if len(x) <= 4 * columns:
        return x, values
    column = dot_of((x - window[0]) / (window[1] - window[0]), columns)
    by_value = np.lexsort((values, column))
    starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    ends = np.append(starts[1:], len(x)) - 1
    chosen = np.unique(np.concatenate([starts, ends, by_value[starts], by_value[ends]]))
    return x[chosen], values[chosen]


def dot_of(share: np.ndarray, num_dots: int) -> np.ndarray:
    """Return the dot, of `num_dots`, at a share 0 .. 1 of an axis that ends in the middle of the outer dots."""
    return np.floor(np.round(0.5 + share * (num_dots - 1), 8)).astype(np.int64)


def light(pieces: np.ndarray, layer: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Light all dots along straight pieces.

    Args:
        pieces: row and column of the dot at the start and at the end, shape (4, pieces), within `shape`.
        layer: shape (pieces,), the layer that each one is drawn on.
        shape: (layers, dot rows, dot columns)

    Returns:
        Lit dots, shape `shape`.
    """
    lit = np.zeros(shape, dtype=bool)
    row, column, end_row, end_column = pieces
    rise, run = end_row - row, end_column - column
    steps = np.maximum(np.abs(rise), np.abs(run))
    of = np.repeat(np.arange(len(steps)), steps + 1)
    step = np.arange(len(of)) - np.repeat(np.cumsum(steps + 1) - (steps + 1), steps + 1)
    along = step / np.maximum(steps, 1)[of]
    rows = np.rint(row[of] + along * rise[of]).astype(np.int64)
    columns = np.rint(column[of] + along * run[of]).astype(np.int64)
    lit[layer[of], rows, columns] = True
    return lit


def light_joined(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Light all dots along one joined line. Unlike `light`, it rounds down between dots, like plotext.

    Args:
        row: rows of dots, counted from below, shape (points,), within `shape`.
        column: columns of dots, shape (points,).
        shape: (dot rows, dot columns)

    Returns:
        Lit dots, shape `shape`; the first row is the highest.
    """
    lit = np.zeros(shape, dtype=bool)
    steps = np.maximum(np.abs(np.diff(row)), np.abs(np.diff(column)))
    of = np.repeat(np.arange(len(steps)), steps)
    step = np.arange(len(of)) - np.repeat(np.cumsum(steps) - steps, steps)
    rows, columns = (
        (start[of] + step * (np.diff(start) / np.maximum(steps, 1))[of]).astype(np.int64) for start in (row, column)
    )
    lit[shape[0] - 1 - np.append(rows, row[-1:]), np.append(columns, column[-1:])] = True
    return lit


def by_cell(lit: np.ndarray, dots: Dots) -> np.ndarray:
    """Group dots of shape (..., dot rows, dot columns) by cell: (..., rows, columns, dots high, dots wide)."""
    *layers, high, wide = lit.shape
    split = lit.reshape(*layers, high // dots.high, dots.high, wide // dots.wide, dots.wide)
    return np.moveaxis(split, -3, -2)


def characters(cells: np.ndarray, dots: Dots) -> np.ndarray:
    """Return the character for the lit dots of each cell; shape (..., rows, columns) for `cells` from `by_cell`."""
    return dots.characters[(cells * dots.weights).sum((-1, -2))]
