"""Content of charts and heat maps, as numbers: no screen, no plotting library.

Lines, charts and heat maps are compared by identity: a frame reuses the objects of the previous one that have not
changed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lop_engine.analysis import Curve
from lop_engine.experiment.components import Metric
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.words.formats import BREAK_LEGEND

XUnit = Literal["tasks", "steps", "hours", "minutes"]
"""``tasks`` means the problem's own unit; ``minutes`` replaces hours in the first hour."""

Points = tuple[np.ndarray, np.ndarray]
"""x and values, both of shape (points,)."""


@dataclass(frozen=True)
class Style:
    """Style of a setting of a method, the same in every view."""

    colour: str
    """``#rrggbb``"""
    marker: str
    """The character that marks it without colour."""
    is_marked: bool = False
    """Draw the marker in colour too, if there are more settings than distinguishable colours."""


@dataclass(frozen=True, eq=False)
class Line:
    """One setting of one method in one chart."""

    label: str
    colour: str
    """``#rrggbb``"""
    marker: str
    """A letter-like character that marks the line without colour."""
    curve: Curve
    """Mean and standard error over seeds, one point per bin; values in the metric's units."""
    x: np.ndarray
    """Positions of the points in the chart's `x_unit`, rising; shape (points,) like `curve.task`."""
    num_seeds: int
    """Number of seeds; `curve.num_seeds` is the number at each point."""
    is_marked: bool = False
    """Draw the marker on the line in colour too."""
    smooth: np.ndarray | None = None
    """The smoothed mean, shape (points,); the raw mean is then a faint line."""
    seeds: tuple[Points, ...] = ()
    """The bins of each seed."""
    marks: tuple[tuple[float, float], ...] = ()
    """Published levels: x and value."""
    breaks: tuple[float, ...] = ()
    """x where a seed becomes non-finite or diverges, rising."""


@dataclass(frozen=True, eq=False)
class Chart:
    """A metric over tasks. Frames reuse the object if nothing has changed."""

    measure: Metric
    """Name, unit, scale, and how the y axis is fitted."""
    lines: tuple[Line, ...]
    x: Axis
    """The whole x axis, in `x_unit`."""
    bin_size: int
    """Tasks in a bin."""
    x_unit: str = "tasks"
    """``tasks``, ``steps``, ``hours``, ``epochs``, or another unit that the problem counts in."""
    zero_line: bool = False
    """Draw a faint line at zero (for differences)."""
    remark: str = ""
    """Reason for an empty chart."""
    runs: tuple[int, int] = (0, 0)
    """Numbers of runs that have recorded this metric, and of runs that have recorded tasks."""

    @property
    def coverage(self) -> str:
        """Return ``n=4/6 runs`` if some runs did not record the metric; else ""."""
        recorded, total = self.runs
        return f"n={recorded}/{total} runs" if 0 < recorded < total else ""

    @property
    def legend(self) -> str:
        """Return notes on the lines: which runs are missing, and what the mark of a break means."""
        meaning = BREAK_LEGEND if any(line.breaks for line in self.lines) else ""
        return ", ".join(filter(None, (self.coverage, meaning)))

    @property
    def has_points(self) -> bool:
        return any(len(line.x) for line in self.lines)


@dataclass(frozen=True, eq=False)
class Heat:
    """A metric of every seed of one setting over tasks."""

    measure: Metric
    label: str
    seeds: tuple[int, ...]
    task: np.ndarray
    """Middle of each bin, tasks counted from 1, shape (bins,)."""
    values: np.ndarray
    """Shape (seeds, bins) in the metric's units; NaN where a seed has no complete bin."""
    bin_size: int
    num_tasks: int
    """The x axis goes from 0 to this."""
    x_unit: str = "tasks"
    """The unit that the problem counts in; labels the axis."""
    x_per_task: int = 1
    """Length of a task in that unit."""
    breaks: tuple[tuple[int, int], ...] = ()
    """Place of each seed that becomes non-finite or diverges, and the task, counted from 1."""
