"""Inside a task of one seed, on the screen."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Static

from lop_engine.analysis.groups import OneProblem
from lop_engine.runs.views import RunView
from lop_tui.dashboard.drawing.chart import Chart
from lop_tui.dashboard.rows import Style
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.views.seeds.epochs import epoch_charts
from lop_tui.dashboard.views.seeds.frame import Epochs
from lop_tui.dashboard.widgets.titled_chart import TitledChart
from lop_tui.words.console import plural
from lop_tui.words.formats import short_value

LEAST_HEIGHT = 9
"""A second chart is shown from twice this height on."""
_NOT_RECORDED = "no epochs are recorded (with metrics_every=0 only its last one is)"


class EpochsView(Container):
    """The headline over the epochs of one task, and a second metric where there is room; or why there are none."""

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
        """Bring the charts up to date; `run` is the one whose epochs they are."""
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
            said = f"seed {run.seed}: {epochs.problem}" if epochs.problem else f"{name}: {_NOT_RECORDED}"
            self._remark.update(said)
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
    """Says beneath which line is which, and where it stands."""

    def _subtitle(self) -> Text:
        if self._chart is None:
            return Text()
        scale = self._chart.measure.scale
        parts = []
        for line in self._chart.lines:
            words = f"{line.label} {short_value(float(line.curve.mean[-1]), scale)}"
            parts.append(Text(f"{line.marker} {words}") if self.app.no_color else Text(words, style=line.colour))
        return Text(", ").join([*parts, Text(plural(len(self._chart.lines[0].x), "epoch"))])
