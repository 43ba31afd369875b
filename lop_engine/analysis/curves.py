"""Bins of tasks, the mean over seeds, and the width of bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lop_engine.analysis.statistics import t_quantile

PAPER_BIN = 50


@dataclass(frozen=True)
class Curve:
    """Mean over seeds of a metric's bins, with a point for each bin that at least one seed has completed.

    All arrays have shape (points,).
    """

    task: np.ndarray
    """Middle of each bin, tasks counted from 1."""
    mean: np.ndarray
    standard_error: np.ndarray
    """Population standard deviation over seeds / sqrt(number of seeds)."""
    num_seeds: np.ndarray
    """Number of seeds at each point."""
    bin_size: int

    @property
    def low(self) -> np.ndarray:
        return self.mean - self.standard_error

    @property
    def high(self) -> np.ndarray:
        return self.mean + self.standard_error


def default_bin(num_tasks: int) -> int:
    """Return the tasks per bin: the paper's 50, or fewer for few tasks: 30 to 60 points, if possible of equal size."""
    most = max(1, min(PAPER_BIN, num_tasks // 30))
    if most == PAPER_BIN:
        return most
    return next((size for size in range(most, most // 2, -1) if num_tasks % size == 0), most)


def bin_means(series: np.ndarray, bin_size: int, num_tasks: int) -> np.ndarray:
    """Return the means of one seed's complete bins, shape (number of complete bins,).

    The last bin of a run may be shorter than the others. NaN where a bin holds a value that is not finite.
    """
    num_whole = len(series) // bin_size
    means = series[: num_whole * bin_size].reshape(num_whole, bin_size).mean(1)
    if len(series) == num_tasks and num_whole * bin_size < num_tasks:
        means = np.append(means, series[num_whole * bin_size :].mean())
    return means


def bin_table(series: Sequence[np.ndarray], bin_size: int, num_tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of each bin, tasks counted from 1, shape (bins,), and the seeds' means, shape (seeds, bins).

    The number of bins is that of the furthest seed; NaN where another has not completed one.
    """
    binned = [bin_means(one, bin_size, num_tasks) for one in series]
    num_bins = max((len(one) for one in binned), default=0)
    table = np.full((len(binned), num_bins), np.nan)
    for row, one in zip(table, binned, strict=True):
        row[: len(one)] = one
    start = np.arange(num_bins) * bin_size
    last_task = max([num_tasks, *map(len, series)])
    return (start + 1 + np.minimum(start + bin_size, last_task)) / 2, table


def average(series: Sequence[np.ndarray], bin_size: int, num_tasks: int) -> Curve:
    """Bin each seed's series, then average over seeds, each bin over the seeds with a complete and finite value."""
    return mean_over_seeds(*bin_table(series, bin_size, num_tasks), bin_size)


def mean_over_seeds(middle: np.ndarray, table: np.ndarray, bin_size: int) -> Curve:
    """Average a table over the seeds that are finite at each point; points without any are left out.

    Args:
        middle: middle of each bin, tasks counted from 1, shape (bins,).
        table: shape (seeds, bins).
    """
    present = np.isfinite(table)
    num_seeds = present.sum(0)
    shown = num_seeds > 0
    count = np.maximum(num_seeds, 1)
    mean = np.where(present, table, 0).sum(0) / count
    variance = (np.where(present, table - mean, 0) ** 2).sum(0) / count
    return Curve(middle[shown], mean[shown], np.sqrt(variance / count)[shown], num_seeds[shown], bin_size)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Return the centred running mean over `width` points, shape (points,) like `values`; width 1 changes nothing.

    Towards both ends the window shrinks equally on its two sides, so that it stays centred: no values are invented,
    and a straight line does not change. For an even width the two outermost points have half weight. Non-finite values
    are left out; NaN if a window has no other values.
    """
    if width <= 1:
        return values.copy()
    known = np.isfinite(values)
    place = np.arange(len(values))
    reach = np.minimum(width // 2, np.minimum(place, place[::-1]))
    first, end = place - reach, place + reach + 1
    # For an even width, the mean of a left-shifted and a right-shifted window; else one window twice.
    lean = ((reach == width // 2) & (width % 2 == 0)).astype(int)

    def window_sum(terms: np.ndarray) -> np.ndarray:
        upto = np.concatenate([[0], np.cumsum(terms)])
        return (upto[end - lean] - upto[first] + upto[end] - upto[first + lean]) / 2

    weight = window_sum(known)
    return np.divide(window_sum(np.where(known, values, 0)), weight, out=np.full(len(values), np.nan), where=weight > 0)


Band = Literal["se", "sd", "ci95", "none"]

BANDS: tuple[Band, ...] = get_args(Band)


def reach(curve: Curve, band: Band) -> np.ndarray:
    """Return how far `band` extends to either side of the mean, shape (points,), in the metric's units.

    ``se`` is one standard error, ``sd`` one standard deviation over seeds (both of the population, as everywhere),
    ``ci95`` the 95 % interval by Student's t. NaN where a single seed has no spread, and everywhere for ``none``.
    """
    count = np.where(curve.num_seeds > 1, curve.num_seeds, np.nan)
    if band == "none":
        return np.full(len(count), np.nan)
    if band == "sd":
        return curve.standard_error * np.sqrt(count)
    if band == "ci95":
        return t_quantile(count - 1) * curve.standard_error * np.sqrt(count / (count - 1))
    return np.where(np.isnan(count), np.nan, curve.standard_error)
