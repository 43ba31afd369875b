"""The epochs of one task of one seed, as charts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Static

from lop_engine.analysis import Curve
from lop_engine.analysis.groups import OneProblem
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.runs.views import RunView
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.drawing.chart import Chart, Line, Style
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.views.seeds.frame import Epochs
from lop_tui.dashboard.widgets.chart import TitledChart
from lop_tui.words.console import plural
from lop_tui.words.formats import short_value

MUTED = Style("#888888", ".")
"""Colour of metrics of the headline's kind, such as the train accuracy, beside the headline in the setting's colour."""

Documents = Sequence[dict[str, object]]
LEAST_HEIGHT = 9
"""A second chart is shown from twice this height on."""
_NOT_RECORDED = "no epochs are recorded (with metrics_every=0 only its last one is)"


def epoch_charts(
    documents: Documents, style: Style, metric: str, num_epochs: int, shown: OneProblem
) -> tuple[Chart, ...]:
    """Make charts of the headline and similar metrics over the epochs of a task, and of `metric`; if that is
    among the first ones, of the first other recorded metric.

    Args:
        documents: the task's documents of epochs.json, at least one.
        num_epochs: least length of the x axis.
        shown: the problem.
    """
    recorded = set().union(*documents)
    together = [*(one for one in shown.problem.together[::-1] if one != shown.headline), shown.headline]
    first = _common_title(together)
    others = [one for one in (metric, *shown.charts) if one not in together and one in recorded]
    charts = []
    for measure, members in [(first, together), *((lookup.metric(one), [one]) for one in others[:1])]:
        looks = [(one, style if one in (shown.headline, *others) else MUTED) for one in members if one in recorded]
        lines = tuple(_line(documents, one, measure.title, look) for one, look in looks)
        if any(len(line.x) for line in lines):
            last = max(int(line.x.max()) for line in lines if len(line.x))
            remark = "" if any(np.isfinite(line.curve.mean).any() for line in lines) else "not finite"
            axis = Axis(0, max(2, num_epochs, last))
            charts.append(Chart(measure, lines, axis, 1, "epochs", remark=remark))
    return tuple(charts)


def _common_title(metrics: Sequence[str]) -> Metric:
    """Return the words that the titles of all `metrics` end in: ``accuracy`` of test and train accuracy."""
    titles = [lookup.metric(one).title.split() for one in metrics]
    common: list[str] = []
    for words in zip(*(title[::-1] for title in titles), strict=False):
        if len(set(words)) > 1:
            break
        common.insert(0, words[0])
    measure = lookup.metric(metrics[-1])
    return replace(measure, title=" ".join(common) or measure.title)


def _line(documents: Documents, metric: str, title: str, style: Style) -> Line:
    """Make a line; its name does not repeat `title`, the chart's title."""
    measured = [document for document in documents if metric in document]  # some epochs lack the metric
    x = np.array([_number(document.get("epoch")) + 1 for document in measured])
    values = np.array([_number(document.get(metric)) for document in measured])
    x, values = x[known := np.isfinite(x) & (x < 1e9)], values[known]
    curve = Curve(x, values, np.zeros(len(x)), np.ones(len(x), dtype=int), 1)
    own = lookup.metric(metric).title
    name = own.removesuffix(title).strip() or own
    return Line(name, style.colour, style.marker, curve, x, num_seeds=1)


def _number(value: object) -> float:
    """Return the value; NaN for null, which stands for values that are not finite."""
    return float(value) if isinstance(value, int | float) else float("nan")


class EpochsView(Container):
    """Shows the headline over the epochs of one task, and a second metric if there is room; or why there are none."""

    def __init__(self) -> None:
        super().__init__()
        self._remark = Static(id="remark", markup=False)
        self._charts = [EpochChart(), EpochChart()]
        self._shown: tuple[object, ...] = ()
        self._num_charts = 0

    def compose(self) -> ComposeResult:
        yield self._remark
        yield from self._charts

    def on_mount(self) -> None:
        self._arrange()

    def show(self, epochs: Epochs, run: RunView, style: Style, metric: str, problem: OneProblem) -> None:
        """Update the charts; `run` is the run of the epochs."""
        shown = (epochs, style, metric, run.status.num_epochs, problem.problem.name)
        if shown == self._shown:
            return
        self._shown = shown
        name = f"seed {run.seed}, task {epochs.task + 1}"
        charts: tuple[Chart, ...] = ()
        if epochs.documents:
            charts = epoch_charts(epochs.documents, style, metric, run.status.num_epochs, problem)
            for widget, chart in zip(self._charts, charts, strict=False):
                widget.show_titled(chart, Viewport(), f"{name}: {chart.measure.heading}")
        else:
            remark = f"seed {run.seed}: {epochs.problem}" if epochs.problem else f"{name}: {_NOT_RECORDED}"
            self._remark.update(remark)
        self._num_charts = len(charts)
        self._arrange()

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        room = 2 if self.size.height >= 2 * LEAST_HEIGHT else 1
        for i, widget in enumerate(self._charts):
            widget.display = i < min(room, self._num_charts)
        self._remark.display = not self._num_charts


class EpochChart(TitledChart):
    """Chart with a legend and values below it."""

    def _subtitle(self) -> Text:
        if self._chart is None:
            return Text()
        scale = self._chart.measure.scale
        parts = []
        for line in self._chart.lines:
            words = f"{line.label} {short_value(float(line.curve.mean[-1]), scale)}"
            parts.append(Text(f"{line.marker} {words}") if self.app.no_color else Text(words, style=line.colour))
        return Text(", ").join([*parts, Text(plural(len(self._chart.lines[0].x), "epoch"))])
