"""Make the charts of a frame from groups of seeds. `lop_engine.analysis` averages over tasks and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain

import numpy as np

from lop_engine.analysis import Group, average, default_bin, seed_table, smooth
from lop_engine.analysis.groups import OneProblem
from lop_engine.analysis.seeds import breaks
from lop_engine.analysis.windows import is_never_finite
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric, Problem, Scale
from lop_engine.reproduction.claims import published_levels
from lop_tui.dashboard.drawing.axes import Axis, task_axis
from lop_tui.dashboard.drawing.chart import Chart, Line, Points, Style, XUnit
from lop_tui.dashboard.settings import Request, Settings

_OTHER_SCALE: dict[Scale, Scale] = {
    "linear": "log",
    "log": "linear",
    "percent": "log percent",
    "log percent": "percent",
}


@dataclass(frozen=True)
class Scope:
    """The x axis and the bin size that all charts of a frame share."""

    x: Axis
    bin_size: int
    unit: XUnit
    """Return the unit of the x axis; short axes in hours use minutes."""


class Ruler:
    """Converts tasks of a group to the x axis; ``tasks`` means the unit that the problem counts in."""

    def __init__(self, group: Group, unit: XUnit) -> None:
        self._group = group
        self._unit = unit

    def __call__(self, task: np.ndarray) -> np.ndarray:
        """Return the points at `task` (counted from 1) in the axis unit; empty if they are unknown."""
        if self._unit == "tasks":
            return task * self._group.x_per_task
        if self._unit == "steps":
            steps = self._group.steps_per_task
            return task * steps if steps else np.empty(0)
        hours = np.interp(task, np.arange(len(self._elapsed_hours)), self._elapsed_hours)
        return 60 * hours if self._unit == "minutes" else hours

    @cached_property
    def _elapsed_hours(self) -> np.ndarray:
        return self._group.elapsed_hours()


class ChartMaker:
    """Makes the charts of successive frames; reuses the objects of charts and lines that have not changed."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], tuple[tuple[object, ...], Line]] = {}
        self._charts: dict[str, Chart] = {}
        self._groups: Sequence[Group] = ()
        """The groups that the lines were made from, kept alive so that their ids are not reused."""
        self._made_for: object = None
        """What the charts show, besides values."""

    def make_or_keep(
        self,
        groups: Sequence[Group],
        styles: Mapping[str, Style],
        request: Request,
        shown: OneProblem,
        keeps_values: bool,
    ) -> tuple[tuple[Chart, ...], bool]:
        """Make the charts of a frame, or return the last ones if only values may have changed since.

        Args:
            keeps_values: whether charts may lack the latest values.
        Returns:
            The charts, and whether they may lack the latest values.
        """
        states = [(run.dir, run.state) for group in groups for run in group.runs]
        made_for = dict(styles), request, shown.charts, states
        if keeps_values and made_for == self._made_for:
            return tuple(self._charts.values()), True
        self._made_for = made_for
        return self.make(groups, styles, request, shown), False

    def make(
        self, groups: Sequence[Group], styles: Mapping[str, Style], request: Request, shown: OneProblem
    ) -> tuple[Chart, ...]:
        """Make a chart for each metric of the problem, in its order."""
        scope, settings = find_scope(groups, request), request.settings
        x_unit = unit_of(scope.unit, shown.problem)
        rulers = {group.label: Ruler(group, scope.unit) for group in groups}
        lines, charts = {}, {}
        for metric in shown.charts:
            measure = scaled(lookup.metric(metric), settings)
            for group in groups:
                make = partial(make_line, group, styles[group.label], metric, scope.bin_size, settings)
                lines[group.label, metric] = self._line(make, rulers[group.label], scope.unit)
            members = tuple(lines[group.label, metric][1] for group in groups if _may_have(group, metric))
            remark = "" if any(len(line.x) for line in members) else _why_empty(groups, metric, scope.bin_size)
            chart = Chart(
                measure, members, scope.x, scope.bin_size, x_unit, remark=remark, runs=_recorded(groups, metric)
            )
            known = self._charts.get(metric)
            charts[metric] = known if known and _is_same_chart(chart, known) else chart
        self._lines, self._charts, self._groups = lines, charts, groups
        return tuple(charts.values())

    def _line(self, make: "partial[Line]", ruler: "Ruler", unit: XUnit) -> tuple[tuple[object, ...], Line]:
        """Return the line that `make` makes, or the previous one if it is the same, and the state it depends on."""
        group, style, metric, bin_size, settings = make.args
        chosen = (unit, settings.smoothing, settings.show_seeds, settings.show_published)
        # The reader returns the same series until there is new data.
        ended = [(run.seed, group.carried_to) for run in group.runs if run.is_ended_by_rule]
        ended += [(run.seed, 0) for run in group.runs if run.state == "diverged"]
        key = (style, bin_size, group.num_tasks, *chosen, *ended, *(id(run.series) for run in group.runs))
        known = self._lines.get((group.label, metric))
        if known and known[0] == key:
            return known
        line = make(ruler)
        return key, known[1] if known and _is_same_line(line, known[1]) else line


def _may_have(group: Group, metric: str) -> bool:
    """Whether a group has a metric, or has not recorded a task yet."""
    return any(metric in run.series for run in group.runs) or not any(run.tasks_recorded for run in group.runs)


def _recorded(groups: Sequence[Group], metric: str) -> tuple[int, int]:
    """Count the runs that have recorded this metric, and the runs that have recorded tasks."""
    runs = [run for group in groups for run in group.runs if run.tasks_recorded]
    return sum(metric in run.series for run in runs), len(runs)


def _why_empty(groups: Sequence[Group], metric: str, bin_size: int) -> str:
    if is_never_finite(groups, [metric]):
        return "not finite"
    runs = [run for group in groups for run in group.runs]
    if any(metric in run.series for run in runs):
        return f"no bin of {bin_size} tasks is full yet" if bin_size > 1 else "no finite value yet"
    reasons = {lookup.why_unmeasured(metric, run.spec, run.components) for run in runs if run.spec}
    if len(reasons) == 1 and (reason := reasons.pop()):
        return reason
    return "not recorded" if any(run.tasks_recorded for run in runs) else ""


def _is_same_chart(one: Chart, other: Chart) -> bool:
    return one.lines == other.lines and all(
        getattr(one, name) == getattr(other, name) for name in ("measure", "x", "bin_size", "x_unit", "remark", "runs")
    )


def _is_same_line(one: Line, other: Line) -> bool:
    """Whether two lines look the same: new tasks that complete no bin change nothing."""
    return (
        all(
            getattr(one, name) == getattr(other, name)
            for name in ("label", "colour", "marker", "is_marked", "num_seeds", "marks", "breaks")
        )
        and len(one.seeds) == len(other.seeds)
        and all(np.array_equal(*pair, equal_nan=True) for pair in zip(_arrays(one), _arrays(other), strict=True))
    )


def _arrays(line: Line) -> list[np.ndarray]:
    curve = line.curve
    smooth = np.empty(0) if line.smooth is None else line.smooth
    return [line.x, curve.mean, curve.standard_error, curve.num_seeds, smooth, *chain.from_iterable(line.seeds)]


def unit_of(unit: XUnit, problem: Problem) -> str:
    """Return the unit of the x axis: the one that the problem counts in, instead of tasks."""
    return problem.x_unit if unit == "tasks" else unit


def scaled(measure: Metric, settings: Settings) -> Metric:
    """Return the measure on the scale that the user chose for it."""
    if measure.name not in settings.other_scale:
        return measure
    return replace(measure, scale=_OTHER_SCALE[measure.scale])


def find_scope(groups: Sequence[Group], request: Request) -> Scope:
    """Return an x axis for all groups, and a bin size that fits its visible part."""
    unit = request.settings.x_unit
    done = [max(run.tasks_recorded for run in group.runs) for group in groups]
    tasks = task_axis(max(done, default=0), max((group.num_tasks for group in groups), default=1))
    x = own_axis(groups)
    if unit != "tasks":
        ends = [Ruler(group, unit)(np.array([float(last)])) for group, last in zip(groups, done, strict=True)]
        furthest = max((float(end[0]) for end in ends if len(end)), default=0.0)
        if unit == "hours" and 0 < furthest < 1:
            unit, furthest = "minutes", 60 * furthest
        x = Axis(0, _round_up(furthest))
    low, high = request.window or (x.low, x.high)
    tasks_shown = round((high - low) / (x.high - x.low) * tasks.high)
    return Scope(x, request.settings.bin_size or default_bin(min(tasks_shown, round(tasks.high))), unit)


def own_axis(groups: Sequence[Group]) -> Axis:
    """Return an x axis for all groups, in the unit that their problem counts in."""
    lengths = [group.x_per_task for group in groups]
    done = [max(run.tasks_recorded for run in group.runs) for group in groups]
    reached = max((tasks * length for tasks, length in zip(done, lengths, strict=True)), default=0)
    end = max((group.num_tasks * length for group, length in zip(groups, lengths, strict=True)), default=1)
    return task_axis(reached, end)


def _round_up(value: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value)) if value > 0 else 1.0
    return float(next(factor * power for factor in (1, 2, 5, 10) if value <= factor * power * (1 + 1e-9)))


def make_line(group: Group, style: Style, metric: str, bin_size: int, settings: Settings, ruler: Ruler) -> Line:
    """Make a group's line in the chart of `metric`."""
    curve = group.curve(metric, bin_size)
    x = ruler(curve.task)
    if len(x) < len(curve.task):
        curve = average([], bin_size, group.num_tasks)
    seeds: tuple[Points, ...] = ()
    if settings.show_seeds:
        table = seed_table(group, metric, bin_size)
        places = ruler(table.task)
        placed = table.values if len(places) else ()
        seeds = tuple((places[there], seed[there]) for seed in placed if (there := np.isfinite(seed)).any())
    return Line(
        label=group.label,
        colour=style.colour,
        marker=style.marker,
        is_marked=style.is_marked,
        curve=curve,
        x=x,
        num_seeds=len(group.runs),
        smooth=smooth(curve.mean, settings.smoothing) if settings.smoothing > 1 else None,
        seeds=seeds,
        breaks=_breaks(group, metric, ruler),
        marks=_published(group, ruler) if settings.show_published and _has_published(group, metric) else (),
    )


def _breaks(group: Group, metric: str, ruler: Ruler) -> tuple[float, ...]:
    tasks = sorted({int(task) for run in group.runs for task in breaks(run, metric)})
    return tuple(ruler(np.array(tasks, dtype=float)).tolist()) if tasks else ()


def _has_published(group: Group, metric: str) -> bool:
    return bool(group.problem.claims) and metric == group.problem.headline


def _published(group: Group, ruler: Ruler) -> tuple[tuple[float, float], ...]:
    levels = published_levels(group.example.spec if group.example else {})
    x = ruler(np.array([float(level.task) for level in levels]))
    return tuple(zip(x.tolist(), (level.value for level in levels), strict=False))
