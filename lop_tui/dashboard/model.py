"""What the dashboard shows at one moment, computed from a Snapshot: no screen, no plotting library.

`build_view` is the whole of it. Averages over tasks and seeds come from `lop_engine.analysis`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lop_engine.analysis import Curve, Group, average, default_bin, group_runs
from lop_engine.records import State
from lop_engine.runs import RunView, Series, Snapshot
from lop_tui.dashboard.axes import Axis, Scale, task_axis, value_axis
from lop_tui.dashboard.formats import with_error
from lop_tui.palette import assign_colours

#: In the order in which they are told: what needs attention comes first.
STATES: tuple[State, ...] = ("failed", "lost", "diverged", "stopped", "running", "queued", "finished")
MARKERS = "ox+*#%@&"
"""Told apart without colour: a line's marker where there is none."""

Phase = Literal["no directory", "no runs", "no tasks", "running", "ended"]


@dataclass(frozen=True)
class Measure:
    """A metric, as a chart shows it."""

    metric: str
    title: str
    scale: Scale = "linear"
    from_zero: bool = True
    least_span: float = 0.0


MEASURES = (
    Measure("test_accuracy", "test accuracy, %", "percent", from_zero=False, least_span=10),
    Measure("curvature", "curvature, log scale", "log"),
    Measure("dormant_proportion", "dormant units, %", "percent", least_span=1),
    Measure("effective_rank", "effective rank", least_span=5),
    Measure("stable_rank", "stable rank", least_span=5),
    Measure("weight_magnitude", "weight magnitude", least_span=0.01),
)


@dataclass(frozen=True)
class Line:
    """One setting of one method in one chart."""

    label: str
    colour: str
    marker: str
    curve: Curve
    seeds: tuple[Curve, ...]
    """Each seed's own bins."""
    num_seeds: int
    """Seeds there are; `curve.num_seeds` says how many entered each point."""


@dataclass(frozen=True)
class Chart:
    """A metric over tasks. The same object as before where nothing has changed."""

    measure: Measure
    lines: tuple[Line, ...]
    x: Axis
    y: Axis
    y_of_seeds: Axis
    bin_size: int

    @property
    def has_points(self) -> bool:
        return any(len(line.curve.task) for line in self.lines)


@dataclass(frozen=True)
class Row:
    """One setting of one method in the table."""

    label: str
    short_label: str
    colour: str
    marker: str
    states: tuple[tuple[State, int], ...]
    tasks_done: int
    """Over all seeds, as are `tasks_total` and `tasks_per_min`."""
    tasks_total: int
    progress: float
    accuracy: str
    """Test accuracy in the last bin, percent, mean +- standard error over seeds; empty if there is none."""
    accuracy_seeds: str
    """``n=1/4`` where that does not hold every seed."""
    tasks_per_min: float | None
    eta_s: float | None


@dataclass(frozen=True)
class Notice:
    """Something a person should know about one run."""

    run: str
    text: str


@dataclass(frozen=True)
class View:
    """One frame."""

    runs_dir: Path
    phase: Phase
    states: tuple[tuple[State, int], ...] = ()
    rows: tuple[Row, ...] = ()
    charts: tuple[Chart, ...] = ()
    notices: tuple[Notice, ...] = ()
    nested: tuple[Path, ...] = ()
    """Directories below that hold runs, when `runs_dir` itself holds none."""
    series: tuple[Series, ...] = ()
    """What the charts were made from."""

    @property
    def num_runs(self) -> int:
        return sum(number for _, number in self.states)

    @property
    def all_ended(self) -> bool:
        return self.phase == "ended"


def build_view(snapshot: Snapshot, previous: View | None = None, nested: Sequence[Path] = ()) -> View:
    """Compute the frame that shows `snapshot`; charts that have not changed are taken from `previous`."""
    groups = group_runs(snapshot.runs)
    labels = [group.label for group in groups]
    colours = assign_colours(labels)
    styles = {label: (colours[label], MARKERS[i % len(MARKERS)]) for i, label in enumerate(labels)}
    series = tuple(run.series for run in snapshot.runs)
    return View(
        runs_dir=snapshot.runs_dir,
        phase=_phase(snapshot),
        states=_count_states(snapshot.runs),
        rows=tuple(_row(group, *styles[group.label]) for group in groups),
        charts=_charts(groups, styles, series, previous),
        notices=tuple(_notices(snapshot.runs)),
        nested=tuple(nested),
        series=series,
    )


def find_nested(runs_dir: Path) -> list[Path]:
    """Directories below `runs_dir` that hold runs of their own, such as ``runs/demo``."""
    return sorted({path.parents[3] for path in runs_dir.glob("*/*/*/seed_*/run.json")})


def _phase(snapshot: Snapshot) -> Phase:
    if not snapshot.runs:
        return "no runs" if snapshot.directory_exists else "no directory"
    if all(run.state not in ("queued", "running") for run in snapshot.runs):
        return "ended"
    return "running" if any(_tasks_recorded(run) for run in snapshot.runs) else "no tasks"


def _tasks_recorded(run: RunView) -> int:
    return max((len(values) for values in run.series.values()), default=0)


def _count_states(runs: Sequence[RunView]) -> tuple[tuple[State, int], ...]:
    counts = Counter(run.state for run in runs)
    return tuple((state, counts[state]) for state in STATES if counts[state])


def short_label(group: Group) -> str:
    """The setting by its values alone: ``bp 0.01`` for ``bp step_size=0.01``."""
    if group.setting == "default":
        return group.experiment
    values = " ".join(part.partition("=")[2] or part for part in group.setting.split(","))
    return f"{group.experiment} {values}"


def _row(group: Group, colour: str, marker: str) -> Row:
    accuracy, accuracy_seeds = _last_accuracy(group)
    done = sum(run.status.tasks_done for run in group.runs)
    tasks_per_min = sum(_tasks_per_min(run) for run in group.runs if run.state == "running")
    return Row(
        label=group.label,
        short_label=short_label(group),
        colour=colour,
        marker=marker,
        states=_count_states(group.runs),
        tasks_done=done,
        tasks_total=sum(run.num_tasks for run in group.runs),
        progress=float(np.mean([_progress(run) for run in group.runs])),
        accuracy=accuracy,
        accuracy_seeds=accuracy_seeds,
        tasks_per_min=tasks_per_min or None,
        eta_s=_eta_s(group, tasks_per_min),
    )


def _progress(run: RunView) -> float:
    return 1.0 if run.state == "finished" else run.status.progress


def _tasks_per_min(run: RunView) -> float:
    return 60 * (run.status.epochs_per_s or 0) / max(1, run.status.num_epochs)


def _eta_s(group: Group, tasks_per_min: float) -> float | None:
    """Seconds until all seeds have ended: the slowest running one, or all work left at the present rate."""
    running = [run.status.eta_s for run in group.runs if run.state == "running"]
    known = [eta_s for eta_s in running if eta_s is not None]
    if not tasks_per_min or len(known) < len(running):
        return None
    unfinished = [run for run in group.runs if run.state in ("queued", "running")]
    tasks_left = sum(run.num_tasks * (1 - run.status.progress) for run in unfinished)
    return max(*known, 60 * tasks_left / tasks_per_min)


def _last_accuracy(group: Group) -> tuple[str, str]:
    curve = group.curve("test_accuracy")
    if not len(curve.mean):
        curve = group.curve("test_accuracy", bin_size=1)
    return last_value(curve, len(group.runs), "percent")


def last_value(curve: Curve, num_seeds: int, scale: Scale) -> tuple[str, str]:
    """Mean +- standard error at the last point, and ``n=1/4`` where it lacks seeds; empty without points."""
    if not len(curve.mean):
        return "", ""
    factor = 100 if scale == "percent" else 1
    mean, error, num_present = curve.mean[-1] * factor, curve.standard_error[-1] * factor, curve.num_seeds[-1]
    value = f"{mean:.1f} ± {error:.1f}" if scale == "percent" else with_error(mean, error)
    return value, "" if num_present == num_seeds else f"n={num_present}/{num_seeds}"


def _notices(runs: Sequence[RunView]) -> list[Notice]:
    """What is wrong with which run, unreadable ones first."""
    unreadable = [Notice(run.dir.name, run.problem) for run in runs if run.problem]
    failed = [
        Notice(run.dir.name, f"{run.state}: {_last_line(run.status.error)}")
        for run in runs
        if not run.problem and (run.state == "failed" or (run.status.error and run.state == "diverged"))
    ]
    lost = [
        Notice(run.dir.name, "lost: its worker is gone; start it again with the same lop run, it goes on where it was")
        for run in runs
        if not run.problem and run.state == "lost"
    ]
    return unreadable + failed + lost


def _last_line(error: str | None) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    return lines[-1] if lines else "it left no error; its worker.log may say more"


def _charts(
    groups: Sequence[Group],
    styles: Mapping[str, tuple[str, str]],
    series: tuple[Series, ...],
    previous: View | None,
) -> tuple[Chart, ...]:
    """All charts over one x axis with one bin size."""
    if previous and len(series) == len(previous.series) and all(map(_is_same, series, previous.series)):
        lines = [(line.label, line.colour, line.num_seeds) for line in previous.charts[0].lines]
        if lines == [(group.label, styles[group.label][0], len(group.runs)) for group in groups]:
            return previous.charts
    tasks_done = max((_tasks_recorded(run) for group in groups for run in group.runs), default=0)
    x = task_axis(tasks_done, max((group.num_tasks for group in groups), default=1))
    bin_size = default_bin(round(x.high))
    return tuple(_chart(measure, groups, styles, x, bin_size) for measure in MEASURES)


def _is_same(one: Series, other: Series) -> bool:
    """The reader hands out the same object as long as nothing is new."""
    return one is other or (not one and not other)


def _chart(
    measure: Measure, groups: Sequence[Group], styles: Mapping[str, tuple[str, str]], x: Axis, bin_size: int
) -> Chart:
    lines = tuple(_line(measure.metric, group, *styles[group.label], bin_size) for group in groups)
    bands = [values for line in lines for values in (line.curve.low, line.curve.high)]
    if measure.scale == "log":
        # A band that reaches below zero has no place on a log scale; the means decide.
        bands = [values for line in lines for values in (line.curve.mean, line.curve.high)]
    seeds = [seed.mean for line in lines for seed in line.seeds]
    y, y_of_seeds = (value_axis(v, measure.scale, measure.from_zero, measure.least_span) for v in (bands, seeds))
    return Chart(measure, lines, x, y, y_of_seeds, bin_size)


def _line(metric: str, group: Group, colour: str, marker: str, bin_size: int) -> Line:
    series = [run.series[metric] for run in group.runs if metric in run.series]
    seeds = tuple(average([one], bin_size, group.num_tasks) for one in series)
    curve = group.curve(metric, bin_size)
    return Line(group.label, colour, marker, curve, seeds, len(group.runs))
