"""What the dashboard shows at one moment, computed from a Snapshot and a Request: no screen, no plotting library.

`ViewBuilder.build` is the whole of it. Averages over tasks and seeds come from `lop_engine.analysis`.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from lop_engine.analysis import Group, group_runs, summarise
from lop_engine.analysis.eta import study_eta_s
from lop_engine.analysis.groups import OneProblem, one_problem
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.machine.usage import Usage
from lop_engine.runs.query import parse_query
from lop_engine.runs.records import State
from lop_engine.runs.views import RunView, Snapshot, place_of
from lop_tui.dashboard import registry
from lop_tui.dashboard.charts import ChartMaker
from lop_tui.dashboard.drawing.chart import Chart, Style
from lop_tui.dashboard.registry import Material
from lop_tui.dashboard.rows import Row, build_row, count_states, short_labels
from lop_tui.dashboard.settings import Request, Settings
from lop_tui.words.notices import Notice, find_notices
from lop_tui.words.palette import colours_of, on_screen

MARKERS = "ox+*#%@&ABCDEFGHIJKLMNPQRSTUVWYZ"
"""Told apart without colour: a line's marker where missing."""
MOST_COLOURS = 8
"""Of more settings, lines and samples have the marker too."""

Phase = Literal["no directory", "no runs", "none match", "no tasks", "running", "ended"]


@dataclass(frozen=True, eq=False)
class View:
    """One frame."""

    runs_dir: Path
    phase: Phase
    request: Request = field(default_factory=Request)
    """What it was made for."""
    shown: OneProblem = field(default_factory=lambda: one_problem(()))
    """The problem shown, and what the filter lets through of others."""
    runs: tuple[RunView, ...] = ()
    """Those of the problem shown that the filter lets through."""
    num_hidden: int = 0
    """Runs that it does not."""
    groups: tuple[Group, ...] = ()
    states: tuple[tuple[State, int], ...] = ()
    rows: tuple[Row, ...] = ()
    charts: tuple[Chart, ...] = ()
    notices: tuple[Notice, ...] = ()
    nested: tuple[Path, ...] = ()
    """Directories below that hold runs, when `runs_dir` itself holds none."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """What views have in the frame, see `views`: each is an attribute of the frame too."""
    usage: Usage | None = None
    last_task: int = 0
    """The most tasks that a run has done (in a replay: will have done)."""
    has_ends_only: bool = False
    """Whether the curves are still being read: it holds the last tasks only."""
    others_ended: bool = True
    """Whether the runs of other problems have ended."""
    eta_s: float | None = None
    """Seconds until all runs of the directory have ended, whatever the filter; None where unknown or in a replay."""
    more_dirs: tuple[Path, ...] = ()
    """Further runs directories that are shown together with `runs_dir`."""

    def __getattr__(self, name: str) -> Any:
        """A view's part, or None if it is not wanted."""
        if name not in _PARTS:
            raise AttributeError(name)
        return self.parts.get(name)

    @cached_property
    def panels(self) -> tuple[Chart, ...]:
        """The charts to show: those that were chosen, in their order, else all; without metrics that no run recorded.

        Until something is recorded, those that the problem shows first.
        """
        chosen = self.request.settings.charts_of(self.shown.problem.name)
        recorded = {*self.shown.recorded} or {chart.measure.name for chart in self.charts}
        by_name = {chart.measure.name: chart for chart in self.charts if chart.measure.name in recorded}
        return tuple(by_name[name] for name in (by_name if chosen is None else chosen) if name in by_name)

    @property
    def runs_dirs(self) -> tuple[Path, ...]:
        return self.runs_dir, *self.more_dirs

    @property
    def place(self) -> str:
        """The runs directories, for people."""
        return place_of(self.runs_dirs)

    @property
    def num_runs(self) -> int:
        return len(self.runs)

    @property
    def all_ended(self) -> bool:
        return self.phase == "ended" and self.others_ended and self.request.replay_at is None

    @property
    def metric(self) -> str:
        """What views of a single metric show: the one that was chosen, if the problem shown has it; else its headline.

        Empty if missing.
        """
        return metric_of(self.shown, self.request)

    def row(self, label: str | None) -> Row | None:
        """The row of that label."""
        return next((row for row in self.rows if row.label == label), None)

    def group(self, label: str | None) -> Group | None:
        """The seeds of the setting of that label."""
        return next((group for group in self.groups if group.label == label), None)


class ViewBuilder:
    """Builds frame after frame; what has not changed is the same object as before."""

    def __init__(self) -> None:
        self._charts = ChartMaker()

    def build(
        self,
        snapshot: Snapshot,
        request: Request | None = None,
        nested: Sequence[Path] = (),
        usage: Usage | None = None,
    ) -> View:
        """The frame that shows `snapshot` as `request` wants it."""
        request = request or Request()
        query = parse_query(request.settings.query)
        matching = tuple(run for run in snapshot.runs if query.matches(run))
        shown = one_problem(matching or snapshot.runs, request.settings.problem)
        is_all = len(matching) == len(snapshot.runs)
        # Of all runs of the problem: a filter changes no colour.
        styles = _styles((shown if is_all else one_problem(snapshot.runs, shown.problem.name)).runs)
        shown = shown if matching else replace(shown, runs=(), others=())
        runs = shown.runs
        last_task = max((run.tasks_recorded for run in runs), default=0)
        if request.replay_at is not None:
            runs = tuple(_until(run, request.replay_at) for run in runs)
        settings = request.settings
        groups = _in_order(group_runs(runs), settings, shown.headline)
        drawn = settings.drawn([group.label for group in groups])
        return View(
            runs_dir=snapshot.runs_dir,
            phase=_phase(snapshot, runs),
            request=request,
            shown=shown,
            runs=runs,
            num_hidden=len(snapshot.runs) - len(matching),
            groups=groups,
            states=count_states(runs),
            rows=tuple(
                replace(row, is_drawn=row.label in drawn, is_pinned=row.label in settings.pinned)
                for row in _rows(groups, styles, [lookup.metric(shown.headline)] * len(groups))
            ),
            charts=self._charts.make([group for group in groups if group.label in drawn], styles, request, shown),
            notices=(*(Notice("filter", note) for note in query.notes(snapshot.runs)), *find_notices(runs)),
            nested=tuple(nested),
            parts=_made(Material(groups, styles, request, metric_of(shown, request))),
            usage=usage,
            last_task=last_task,
            eta_s=study_eta_s(snapshot.runs) if request.replay_at is None else None,
            more_dirs=snapshot.others,
            has_ends_only=snapshot.has_ends_only,
            others_ended=have_ended(set(matching) - set(shown.runs)),
        )


def build_rows(runs: Sequence[RunView]) -> tuple[Row, ...]:
    """A row a setting, whatever its problem, with the headline metric of that."""
    groups = group_runs(runs)
    return _rows(groups, _styles(runs), [lookup.metric(one_problem(group.runs).headline) for group in groups])


def _rows(groups: Sequence[Group], styles: dict[str, Style], measures: Sequence[Metric]) -> tuple[Row, ...]:
    shorts, pairs = short_labels(groups), zip(groups, measures, strict=True)
    return tuple(build_row(group, styles[group.label], measure, shorts[group.label]) for group, measure in pairs)


def have_ended(runs: Collection[RunView]) -> bool:
    """Whether none of `runs` waits or is trained."""
    return all(run.state not in ("queued", "running") for run in runs)


def metric_of(shown: OneProblem, request: Request) -> str:
    """The metric of the views of a single one, see `View.metric`."""
    chosen = request.settings.metric
    return chosen if chosen in shown.charts else shown.headline


def build_view(snapshot: Snapshot, request: Request | None = None) -> View:
    """A single frame."""
    return ViewBuilder().build(snapshot, request)


def find_nested(runs_dir: Path) -> list[Path]:
    """Directories below `runs_dir` that hold runs of their own, such as ``runs/demo``."""
    return sorted({path.parents[3] for path in runs_dir.glob("*/*/*/seed_*/run.json")})


def _in_order(groups: Sequence[Group], settings: Settings, headline: str) -> tuple[Group, ...]:
    """The pinned ones first; within both parts by name, or the best in the headline metric first."""
    ordered = list(groups)
    if settings.order == "value":
        ordered.sort(key=lambda group: _badness(group, headline))
    return tuple(sorted(ordered, key=lambda group: group.label not in settings.pinned))


def _badness(group: Group, metric: str) -> float:
    """The final value, greater where worse; infinite if missing."""
    summary = summarise(group, metric) if metric else None
    if summary is None:
        return math.inf
    return -summary.last if summary.metric.better == "higher" else summary.last


def _styles(runs: Sequence[RunView]) -> dict[str, Style]:
    colours = {label: on_screen(colour) for label, colour in colours_of(group_runs(runs)).items()}
    is_marked = len(colours) > MOST_COLOURS
    return {label: Style(colours[label], MARKERS[i % len(MARKERS)], is_marked) for i, label in enumerate(colours)}


def _until(run: RunView, task: int) -> RunView:
    """The run as it was after a number of tasks."""
    if run.tasks_recorded <= task:
        return run
    series = {metric: values[:task] for metric, values in run.series.items()}
    status = replace(run.status, tasks_done=task, epochs_done=0, epochs_per_s=None, error=None)
    return replace(run, series=series, seconds=run.seconds[:task], status=status, state="running")


def _phase(snapshot: Snapshot, runs: Sequence[RunView]) -> Phase:
    if not snapshot.runs:
        return "no runs" if snapshot.directory_exists else "no directory"
    if not runs:
        return "none match"
    if have_ended(runs):
        return "ended"
    return "running" if any(run.tasks_recorded for run in runs) else "no tasks"


_PARTS = {part.name: part for part in registry.parts()}


def _made(material: Material) -> dict[str, Any]:
    """The parts that are wanted."""
    wants = material.request.wants
    return {
        part.name: part.make(material, wish) for part in _PARTS.values() if (wish := wants.get(part.wanted)) is not None
    }
