"""The difference of two settings, seed by seed: its part of the frame, as a chart and in words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lop_engine.analysis import Curve, Difference, Group, compare, default_bin
from lop_engine.analysis.grid import points
from lop_engine.experiment import lookup
from lop_tui.dashboard.drawing.axes import task_axis
from lop_tui.dashboard.drawing.chart import Chart, Line, Style
from lop_tui.dashboard.registry import Material, Part
from lop_tui.words.formats import name_seeds, place, significant, span


@dataclass(frozen=True)
class Pair:
    """Two settings and a metric; the difference is the second minus the first."""

    first: str
    second: str
    metric: str
    x_unit: str = "tasks"
    """The unit that the problem counts in."""
    x_per_task: int = 1
    """Length of a task in that unit."""

    @property
    def name(self) -> str:
        return f"{self.second} - {self.first}"

    @property
    def unit(self) -> str:
        """Return the unit of differences: shares are shown in percent, differences of shares in points."""
        return "percentage points" if lookup.metric(self.metric).unit == "%" else ""

    @property
    def title(self) -> str:
        name = lookup.metric(self.metric).title
        return f"{self.name}: {name}, {self.unit}" if self.unit else f"{self.name}: {name}"


def difference_chart(difference: Difference, pair: Pair, style: Style, num_tasks: int) -> Chart:
    """Make a chart of the mean over pairs with its 95 % interval; mark where the interval leaves zero for good."""
    # A chart's band is +- one standard error; here it is the interval.
    curve = Curve(
        difference.task, difference.mean, difference.high - difference.mean, difference.num_pairs, difference.bin_size
    )
    parts_at, x = difference.parts_at, difference.task * pair.x_per_task
    line = Line(
        pair.name,
        style.colour,
        style.marker,
        curve,
        x,
        num_seeds=len(difference.pairs),
        marks=() if parts_at is None else ((parts_at * pair.x_per_task, 0.0),),
    )
    measure = lookup.metric(pair.metric)
    # A difference may be negative: no log scale.
    measure = replace(measure, scale="percent" if measure.unit == "%" else "linear", from_zero=False)
    last = float(x[-1]) if len(x) else 0.0
    axis = task_axis(int(np.ceil(last)), num_tasks * pair.x_per_task)
    return Chart(measure, (line,), axis, difference.bin_size, pair.x_unit, zero_line=True)


def verdict(difference: Difference, pair: Pair, cursor: float | None = None) -> list[str]:
    """Return sentences on the difference in the last bin, or in the one at `cursor`, a place on the x axis; from
    where on there is a difference; and its seeds.

    The sentences say how little a few pairs prove.
    """
    if not difference.pairs:
        return [f"{pair.first} and {pair.second} have no seed in common: nothing to compare"]
    if not len(difference.task):
        name, bin_size = lookup.metric(pair.metric).title, difference.bin_size
        missing = (
            f"no bin of {bin_size} tasks with {name} is full" if bin_size > 1 else f"no task with {name} is finished"
        )
        return [f"{missing} in both yet", *_left_over(difference, pair)]
    point = -1 if cursor is None else int(np.abs(difference.task * pair.x_per_task - cursor).argmin())
    return [_reading(difference, pair, point), _parting(difference, pair), *_left_over(difference, pair)]


def configuration(groups: Sequence[Group]) -> list[str]:
    """Return ``they differ in step_size (0.1, 0.01), replacement_rate (-, 0.0001)``; a dash: the key has no effect."""
    of_groups = points(groups, with_extent=True)
    keys = dict.fromkeys(key for point in of_groups for key in point)
    differing = [f"{key} ({', '.join(str(point.get(key, '-')) for point in of_groups)})" for key in keys]
    return [f"they differ in {', '.join(differing)}"] if differing else []


def _reading(difference: Difference, pair: Pair, point: int) -> str:
    mean, low, high = (_value(getattr(difference, part)[point], pair) for part in ("mean", "low", "high"))
    first = max(1, difference.task[point] - (difference.bin_size - 1) / 2)
    last = first + 2 * (difference.task[point] - first)
    where = span(round(first), round(last), pair.x_unit, pair.x_per_task)
    value = f"{mean} {pair.unit}".rstrip()
    num_pairs = int(difference.num_pairs[point])
    if num_pairs == 1:
        return f"{where}: {value}; a single pair of seeds, so no interval"
    return f"{where}: {value}, 95 % interval {low} to {high}, {num_pairs} pairs of seeds"


def _parting(difference: Difference, pair: Pair) -> str:
    if not (difference.num_pairs > 1).any():
        return "at least two pairs of seeds are needed to see whether they differ"
    if difference.parts_at is None:
        return "not apart: the last interval contains zero"
    return f"apart since {place(difference.parts_at * pair.x_per_task, pair.x_unit)}"


def _left_over(difference: Difference, pair: Pair) -> list[str]:
    """Return seeds that only one of the two has."""
    sides = ((pair.first, difference.only_a), (pair.second, difference.only_b))
    return [f"only in {label}: {name_seeds(seeds)}" for label, seeds in sides if seeds]


def _value(value: float, pair: Pair) -> str:
    """Return the value with its sign."""
    if lookup.metric(pair.metric).unit == "%":
        return f"{100 * value:+.1f}"
    return ("+" if value >= 0 else "") + significant(value)


def _difference(material: Material, labels: tuple[str, str]) -> Difference | None:
    by_label = {group.label: group for group in material.groups}
    if not all(label in by_label for label in labels):
        return None
    one, other = (by_label[label] for label in labels)
    settings, metric = material.request.settings, material.metric
    done = min(max(run.tasks_recorded for run in group.runs) for group in (one, other))
    shown = round(task_axis(done, min(one.num_tasks, other.num_tasks)).high)
    return compare(one, other, metric, settings.bin_size or default_bin(shown))


#: Labels of the two settings to compare.
PARTS = (Part("difference", "compare", _difference),)
