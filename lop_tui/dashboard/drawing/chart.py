"""What a chart and a heat map show, as numbers: no screen, no plotting library.

Lines, charts and heat maps are equal only if they are the same object: a frame takes over from the last what has not
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
    """How a setting of a method looks, in every view."""

    colour: str
    """``#rrggbb``"""
    marker: str
    """Marks it where there is no colour."""
    is_marked: bool = False
    """Draw the marker in colour too: there are more settings than colours that can be told apart."""


@dataclass(frozen=True, eq=False)
class Line:
    """One setting of one method in one chart."""

    label: str
    colour: str
    """``#rrggbb``"""
    marker: str
    """A letter-like character that marks the line where there is no colour."""
    curve: Curve
    """Mean and standard error over seeds, a point a bin; values in the metric's units."""
    x: np.ndarray
    """Where the points lie, in the chart's `x_unit`, rising; shape (points,) as of `curve.task`."""
    num_seeds: int
    """Seeds there are; `curve.num_seeds` says how many entered each point."""
    is_marked: bool = False
    """Whether the marker stands on the line in colour too."""
    smooth: np.ndarray | None = None
    """The mean after smoothing, shape (points,); the raw one then stays as a faint line."""
    seeds: tuple[Points, ...] = ()
    """Each seed's own bins."""
    marks: tuple[tuple[float, float], ...] = ()
    """Published levels: x and value."""
    breaks: tuple[float, ...] = ()
    """Where a seed stops being finite, or diverges: x, rising."""


@dataclass(frozen=True, eq=False)
class Chart:
    """A metric over tasks. The same object as before where nothing has changed."""

    measure: Metric
    """Name, unit, scale, and how the y axis is fitted."""
    lines: tuple[Line, ...]
    x: Axis
    """The whole x axis, in `x_unit`."""
    bin_size: int
    """In tasks."""
    x_unit: str = "tasks"
    """``tasks``, ``steps``, ``hours``, ``epochs``, or what else the problem counts in."""
    zero_line: bool = False
    """Draw a faint line at zero (for differences)."""
    remark: str = ""
    """Why there is nothing to see."""
    runs: tuple[int, int] = (0, 0)
    """Of the runs that have recorded tasks, how many have recorded this metric, and how many there are."""

    @property
    def coverage(self) -> str:
        """``n=4/6 runs`` where runs are missing because they did not record the metric; else empty."""
        recorded, total = self.runs
        return f"n={recorded}/{total} runs" if 0 < recorded < total else ""

    @property
    def legend(self) -> str:
        """What a reader must know of the lines: which runs are missing, and what the mark of a break means."""
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
    """Shape (seeds, bins) in the metric's units; NaN where a seed has no whole bin."""
    bin_size: int
    num_tasks: int
    """The x axis goes from 0 to this."""
    x_unit: str = "tasks"
    """What the problem counts in; its axis is labelled so."""
    x_per_task: int = 1
    """Length of a task in that unit."""
    breaks: tuple[tuple[int, int], ...] = ()
    """Where a seed stops being finite, or diverges: its place among the seeds, and the task, counted from 1."""
