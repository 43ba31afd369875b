"""The content of the dashboard at one moment, from a Snapshot and a Request: no screen, no plotting library.

The entry point is `ViewBuilder.build`. `lop_engine.analysis` averages over tasks and seeds.
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
"""Characters that mark lines without colour."""
MOST_COLOURS = 8
"""With more settings than this, lines and samples have markers in colour too."""

Phase = Literal["no directory", "no runs", "none match", "no tasks", "running", "ended"]


@dataclass(frozen=True, eq=False)
class View:
    """One frame."""

    runs_dir: Path
    phase: Phase
    request: Request = field(default_factory=Request)
    """The request that the frame answers."""
    shown: OneProblem = field(default_factory=lambda: one_problem(()))
    """The problem shown, and what the filter matches of others."""
    runs: tuple[RunView, ...] = ()
    """Runs of the problem shown that match the filter."""
    num_hidden: int = 0
    """Number of runs that do not match."""
    groups: tuple[Group, ...] = ()
    states: tuple[tuple[State, int], ...] = ()
    rows: tuple[Row, ...] = ()
    charts: tuple[Chart, ...] = ()
    notices: tuple[Notice, ...] = ()
    nested: tuple[Path, ...] = ()
    """Subdirectories that contain runs, when `runs_dir` itself contains none."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """The parts of views, see `views`: each is an attribute of the frame too."""
    usage: Usage | None = None
    last_task: int = 0
    """The most tasks that a run has done (in a replay: its final number)."""
    has_ends_only: bool = False
    """The frame only has the last tasks, because the curves are still being read."""
    has_old_charts: bool = False
    """Whether the charts may lack the latest values."""
    others_ended: bool = True
    """Whether the runs of other problems have ended."""
    eta_s: float | None = None
    """Seconds until all runs of the directory have ended, regardless of the filter; None if unknown or in a replay."""
    more_dirs: tuple[Path, ...] = ()
    """Further runs directories that are shown with `runs_dir`."""

    def __getattr__(self, name: str) -> Any:
        """Return a view's part; None if the request does not ask for it."""
        if name not in _PARTS:
            raise AttributeError(name)
        return self.parts.get(name)

    @cached_property
    def panels(self) -> tuple[Chart, ...]:
        """Return the charts to show: the chosen ones, or all; without metrics that no run has recorded.

        Until something is recorded, the problem's first metrics.
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
        """Return the runs directories as text."""
        return place_of(self.runs_dirs)

    @property
    def num_runs(self) -> int:
        return len(self.runs)

    @property
    def all_ended(self) -> bool:
        return self.phase == "ended" and self.others_ended and self.request.replay_at is None

    @property
    def metric(self) -> str:
        """Return the metric of single-metric views: the chosen one if the problem has it, else the headline.

        Empty if there is none.
        """
        return metric_of(self.shown, self.request)

    def row(self, label: str | None) -> Row | None:
        """Return the row with that label."""
        return next((row for row in self.rows if row.label == label), None)

    def group(self, label: str | None) -> Group | None:
        """Return the seeds of the setting with that label."""
        return next((group for group in self.groups if group.label == label), None)


class ViewBuilder:
    """Builds successive frames; reuses the objects that have not changed."""

    def __init__(self) -> None:
        self._charts = ChartMaker()

    def build(
        self,
        snapshot: Snapshot,
        request: Request | None = None,
        nested: Sequence[Path] = (),
        usage: Usage | None = None,
        keeps_charts: bool = False,
    ) -> View:
        """Build the frame of `snapshot` that `request` describes.

        Args:
            keeps_charts: whether charts may lack the latest values; making and drawing them takes most of the time.
        """
        request = request or Request()
        query = parse_query(request.settings.query)
        matching = tuple(run for run in snapshot.runs if query.matches(run))
        shown = one_problem(matching or snapshot.runs, request.settings.problem)
        is_all = len(matching) == len(snapshot.runs)
        # Use all runs of the problem, so that a filter does not change colours.
        styles = _styles((shown if is_all else one_problem(snapshot.runs, shown.problem.name)).runs)
        shown = shown if matching else replace(shown, runs=(), others=())
        runs = shown.runs
        last_task = max((run.tasks_recorded for run in runs), default=0)
        if request.replay_at is not None:
            runs = tuple(_until(run, request.replay_at) for run in runs)
        settings = request.settings
        groups = _in_order(group_runs(runs), settings, shown.headline)
        drawn = settings.drawn([group.label for group in groups])
        charts, has_old_charts = self._charts.make_or_keep(
            [group for group in groups if group.label in drawn], styles, request, shown, keeps_charts
        )
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
            charts=charts,
            notices=(*(Notice("filter", note) for note in query.notes(snapshot.runs)), *find_notices(runs)),
            nested=tuple(nested),
            parts=_made(Material(groups, styles, request, metric_of(shown, request))),
            usage=usage,
            last_task=last_task,
            eta_s=study_eta_s(snapshot.runs) if request.replay_at is None else None,
            more_dirs=snapshot.others,
            has_ends_only=snapshot.has_ends_only,
            has_old_charts=has_old_charts,
            others_ended=have_ended(set(matching) - set(shown.runs)),
        )


def build_rows(runs: Sequence[RunView]) -> tuple[Row, ...]:
    """Build a row for each setting, whatever its problem, with the headline metric of its problem."""
    groups = group_runs(runs)
    return _rows(groups, _styles(runs), [lookup.metric(one_problem(group.runs).headline) for group in groups])


def _rows(groups: Sequence[Group], styles: dict[str, Style], measures: Sequence[Metric]) -> tuple[Row, ...]:
    shorts, pairs = short_labels(groups), zip(groups, measures, strict=True)
    return tuple(build_row(group, styles[group.label], measure, shorts[group.label]) for group, measure in pairs)


def have_ended(runs: Collection[RunView]) -> bool:
    """Whether none of `runs` is queued or running."""
    return all(run.state not in ("queued", "running") for run in runs)


def metric_of(shown: OneProblem, request: Request) -> str:
    """Return the metric of single-metric views, see `View.metric`."""
    chosen = request.settings.metric
    return chosen if chosen in shown.charts else shown.headline


def build_view(snapshot: Snapshot, request: Request | None = None) -> View:
    """Build a single frame."""
    return ViewBuilder().build(snapshot, request)


def find_nested(runs_dir: Path) -> list[Path]:
    """List the directories below `runs_dir` that contain runs, such as ``runs/demo``."""
    return sorted({path.parents[3] for path in runs_dir.glob("*/*/*/seed_*/run.json")})


def _in_order(groups: Sequence[Group], settings: Settings, headline: str) -> tuple[Group, ...]:
    """Sort the pinned ones first, and both parts by name or by the headline metric."""
    ordered = list(groups)
    if settings.order == "value":
        ordered.sort(key=lambda group: _badness(group, headline))
    return tuple(sorted(ordered, key=lambda group: group.label not in settings.pinned))


def _badness(group: Group, metric: str) -> float:
    """Return the final value, greater if worse; infinite if missing."""
    summary = summarise(group, metric) if metric else None
    if summary is None:
        return math.inf
    return -summary.last if summary.metric.better == "higher" else summary.last


def _styles(runs: Sequence[RunView]) -> dict[str, Style]:
    colours = {label: on_screen(colour) for label, colour in colours_of(group_runs(runs)).items()}
    is_marked = len(colours) > MOST_COLOURS
    return {label: Style(colours[label], MARKERS[i % len(MARKERS)], is_marked) for i, label in enumerate(colours)}


def _until(run: RunView, task: int) -> RunView:
    """Return the run as it was after a number of tasks."""
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
    """Make the parts that the request asks for."""
    wants = material.request.wants
    return {
        part.name: part.make(material, value)
        for part in _PARTS.values()
        if (value := wants.get(part.argument)) is not None
    }
