"""Axes with round limits and round ticks, so that a chart that grows moves seldom."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Scale = Literal["linear", "percent", "log"]


@dataclass(frozen=True)
class Axis:
    """Limits in the units of the axis: percent for `percent`, log10 of the metric for `log`."""

    low: float
    high: float
    scale: Scale = "linear"

    def place(self, values: np.ndarray) -> np.ndarray:
        """Values of the metric in the units of the axis, clipped to its limits."""
        if self.scale == "percent":
            values = 100 * values
        elif self.scale == "log":
            values = np.log10(np.maximum(values, 10.0**self.low))
        placed: np.ndarray = np.clip(values, self.low, self.high)
        return placed

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """At most `most` round ticks (two at least): position in the units of the axis, and label."""
        if self.scale == "log":
            return _log_ticks(self.low, self.high, most)
        step = nice_step(self.high - self.low, max(1, most - 1))
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(i * step, f"{i * step:.{decimals}f}") for i in range(first, last + 1)]


def nice_step(span: float, most: int) -> float:
    """The least of 1, 2, 5 times a power of ten that divides `span` into at most `most` parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in (1, 2, 5, 10) if span <= most * factor * power * (1 + 1e-9))


def task_axis(tasks_done: int, num_tasks: int) -> Axis:
    """From 0 to the next round number of tasks, never past the last one."""
    if tasks_done <= 0:
        return Axis(0, max(1, num_tasks))
    power = 10 ** math.floor(math.log10(tasks_done))
    high = next(factor * power for factor in (1, 2, 5, 10) if tasks_done <= factor * power)
    return Axis(0, max(2, min(high, num_tasks) if num_tasks >= tasks_done else high))


def value_axis(values: Sequence[np.ndarray], scale: Scale, from_zero: bool, least_span: float) -> Axis:
    """Round limits around all finite `values` (in the metric's units); of log scales, around the positive ones.

    Args:
        from_zero: start at 0, where 0 is a natural limit.
        least_span: shorter than this (in the units of the axis) it never gets: noise shall not look like a trend.
    """
    joined = np.concatenate([np.empty(0), *values])
    joined = joined[np.isfinite(joined) & ((joined > 0) | (scale != "log"))]
    if scale == "log":
        return _log_axis(joined)
    low, high = (float(joined.min()), float(joined.max())) if len(joined) else (0.0, 0.0)
    if scale == "percent":
        low, high = 100 * low, 100 * high
    low = min(0.0, low) if from_zero else low
    if high - low < least_span:
        middle = (low + high) / 2
        low, high = (low, low + least_span) if from_zero else (middle - least_span / 2, middle + least_span / 2)
    step = nice_step(high - low, 5)
    low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    if scale == "percent":
        low, high = max(low, 0.0), min(high, 100.0)
    return Axis(low, high, scale)


def _log_axis(positive: np.ndarray) -> Axis:
    """Limits at 1, 2 or 5 times a power of ten, at least half a decade apart."""
    if not len(positive):
        return Axis(-3, 0, "log")
    marks = [exponent + math.log10(factor) for exponent in range(-30, 31) for factor in (1, 2, 5)]
    lowest, highest = math.log10(positive.min()), math.log10(positive.max())
    low = max((mark for mark in marks if mark <= lowest + 1e-9), default=marks[0])
    high = min((mark for mark in marks if mark >= highest - 1e-9), default=marks[-1])
    while high - low < 0.5:
        high = min(mark for mark in marks if mark > high + 1e-9)
    return Axis(low, high, "log")


def _log_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Powers of ten, with 2 and 5 times them where there is room; fewer where there is not."""
    powers: list[float] = [float(power) for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    between = [
        power + math.log10(factor) for power in range(math.floor(low), math.ceil(high) + 1) for factor in (1, 2, 5)
    ]
    between = [mark for mark in between if low - 1e-9 <= mark <= high + 1e-9]
    marks = between if len(between) <= most or len(powers) < 2 else powers
    return [(mark, _power_label(10.0**mark)) for mark in marks[:: math.ceil(len(marks) / most)]]


def _power_label(value: float) -> str:
    return f"{value:.1g}" if value >= 0.99e-3 else f"{value:.0e}".replace("e-0", "e-")
