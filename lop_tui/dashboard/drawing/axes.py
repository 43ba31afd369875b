"""Axes with round limits and round ticks, so that a growing chart rarely changes its axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lop_engine.experiment.components import Scale, factor_of, is_log

LABEL_WIDTH = 6
"""Most characters of a tick label. All y axes have this width, so that the x axes of all charts are aligned."""
HUGE = 1e300
"""Larger numbers are clipped to this one, so that nothing overflows."""
_FACTORS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Axis:
    """Limits in the units of the axis: percent for `percent`, log10 of the metric (in percent) on a log scale."""

    low: float
    high: float
    scale: Scale = "linear"

    def place(self, values: np.ndarray) -> np.ndarray:
        """Convert values of the metric to the units of the axis, clipped to its limits."""
        values = factor_of(self.scale) * np.clip(values, -HUGE, HUGE)
        if is_log(self.scale):
            values = np.log10(np.maximum(values, 10.0**self.low))
        placed: np.ndarray = np.clip(values, self.low, self.high)
        return placed

    def ticks(self, most: int, least_step: float = 0.0) -> list[tuple[float, str]]:
        """Return at most `most` round ticks (at least two, if labels allow): position in the axis' units, and label.

        No two are closer than `least_step`. There are fewer if labels with so many digits would be too long, and
        one with a rounded label if no round number lies within the limits.
        """
        if is_log(self.scale):
            ticks = _log_ticks(self.low, self.high, most)
        else:
            ticks = _linear_ticks(self.low, self.high, most, least_step)
        middle = (self.low + self.high) / 2
        return ticks or [(middle, _rounded(10.0**middle if is_log(self.scale) else middle))]


def nice_step(span: float, most: int) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that divides `span` into at most `most` parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in _FACTORS if span <= most * factor * power * (1 + 1e-9))


def task_axis(tasks_done: int, num_tasks: int) -> Axis:
    """Return an axis from 0 to the next round number of tasks, at most the last task."""
    if tasks_done <= 0:
        return Axis(0, max(1, num_tasks))
    power = 10 ** math.floor(math.log10(tasks_done))
    high = next(factor * power for factor in _FACTORS if tasks_done <= factor * power)
    return Axis(0, max(2, min(high, num_tasks) if num_tasks >= tasks_done else high))


def value_axis(
    values: Sequence[np.ndarray], scale: Scale, from_zero: bool, least_span: float, bounded: bool = True
) -> Axis:
    """Return round limits for all finite `values` (in the metric's units); on log scales for the positive ones.

    Args:
        from_zero: start at 0, where 0 is a natural limit.
        least_span: the shortest axis (in its units), so that noise does not look like a trend.
        bounded: clip percent to 0 .. 100; false for differences.
    """
    joined = np.concatenate([np.empty(0), *(one.ravel() for one in values)])
    joined = joined[np.isfinite(joined) & ((joined > 0) | (not is_log(scale)))]
    joined = np.clip(joined, -HUGE, HUGE) * factor_of(scale)
    if is_log(scale):
        return _log_axis(joined, scale, 2.0 if scale == "log percent" and bounded else math.inf)
    low, high = (float(joined.min()), float(joined.max())) if len(joined) else (0.0, 0.0)
    low = min(0.0, low) if from_zero else low
    # Limits that differ only in their last digits have no ticks between them.
    size = max(abs(low), abs(high))
    least_span = max(least_span, 1e-9 * size) if size > 1e-90 else least_span or 1.0
    if high - low < least_span:
        middle = (low + high) / 2
        low, high = (low, low + least_span) if from_zero else (middle - least_span / 2, middle + least_span / 2)
    step = nice_step(high - low, 5)
    low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    if scale == "percent" and bounded:
        low, high = max(low, 0.0), min(high, 100.0)
        low, high = (low, high) if low < high else (0.0, 100.0)
    return Axis(low, high, scale)


def _linear_ticks(low: float, high: float, most: int, least_step: float) -> list[tuple[float, str]]:
    """Return the multiples of the finest round step whose labels fit."""
    for parts in range(max(1, most - 1), 0, -1):
        step = max(nice_step(high - low, parts), least_step)
        multiples = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        labels = _labels(multiples, step)
        if labels:
            return [(i * step, label) for i, label in zip(multiples, labels, strict=True)]
    return []


def _labels(multiples: range, step: float) -> list[str]:
    """Return all multiples of `step`, exactly and in one format: ``0.25``, ``1.5M`` or ``2e-7``; none if too long."""
    exponent = math.floor(math.log10(step) + 1e-9)
    largest = step * max((abs(i) for i in multiples), default=0)
    power, suffix = (6, "M") if largest >= 1e6 else (3, "k")
    factor = round(step / 10.0**exponent)
    ways = [
        [f"{i * step:.{max(0, -exponent)}f}" for i in multiples],
        [f"{i * step / 10**power:.{max(0, power - exponent)}f}{suffix}" if i else "0" for i in multiples],
        [_with_exponent(i * factor, exponent) for i in multiples],
    ]
    if largest < 1e3:
        del ways[1]
    elif largest >= 1e5:
        ways[:2] = ways[1::-1]
    return next((labels for labels in ways if all(len(label) <= LABEL_WIDTH for label in labels)), [])


def _with_exponent(mantissa: int, exponent: int) -> str:
    """Write a number with an exponent: ``12e-7``, ``1e9``; 0 is ``0``."""
    while mantissa and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    return f"{mantissa}e{exponent}" if mantissa else "0"


def _rounded(value: float) -> str:
    """Write a number with as many significant digits as fit, at most four."""
    texts = (
        f"{value:.{digits}g}".replace("e+", "e").replace("e0", "e").replace("e-0", "e-") for digits in (4, 3, 2, 1)
    )
    return next((text for text in texts if len(text) <= LABEL_WIDTH), "")


def _log_axis(positive: np.ndarray, scale: Scale, most: float) -> Axis:
    """Return limits at 1, 2 or 5 times a power of ten, at least half a decade apart and at most 10**`most`."""
    if not len(positive):
        return Axis(-3, 0, scale)
    lowest, highest = np.log10(np.clip([positive.min(), positive.max()], 1 / HUGE, HUGE))
    low = max(mark for mark in _log_marks(lowest, lowest) if mark <= lowest + 1e-9)
    high = min(mark for mark in _log_marks(highest, highest + 1) if mark >= max(highest - 1e-9, low + 0.5))
    if high > most:
        high, low = most, min(low, most - 0.5)
        low = max(mark for mark in _log_marks(low, low) if mark <= low + 1e-9)
    return Axis(low, high, scale)


def _log_marks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times each power of ten, from the power below `low` to that above `high`."""
    powers = range(math.floor(low + 1e-9), math.ceil(high) + 1)
    return [power + math.log10(factor) for power in powers for factor in (1, 2, 5)]


def _log_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Return powers of ten, and 2 and 5 times them if there is room; fewer if there is not."""
    between = [mark for mark in _log_marks(low, high) if low - 1e-9 <= mark <= high + 1e-9]
    powers = [mark for mark in between if mark == round(mark)]
    marks = between if len(between) <= most or len(powers) < 2 else powers
    return [(mark, _power_label(mark)) for mark in marks[:: max(1, math.ceil(len(marks) / most))]]


def _power_label(mark: float) -> str:
    """Write 1, 2 or 5 times a power of ten, given its logarithm: ``0.002``, ``500``, ``2e-7``."""
    exponent = math.floor(mark + 1e-9)
    factor = round(10.0 ** (mark - exponent))
    return f"{factor * 10.0**exponent:.{max(0, -exponent)}f}" if -3 <= exponent < 5 else f"{factor}e{exponent}"
