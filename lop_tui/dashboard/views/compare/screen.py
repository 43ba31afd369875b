"""The screen that compares two settings, seed by seed."""

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from lop_engine.analysis import Difference
from lop_engine.runs.views import RunView, Series
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.drawing.chart import Chart
from lop_tui.dashboard.drawing.plots import sample
from lop_tui.dashboard.figure import Pictured
from lop_tui.dashboard.ink import has_colour_samples
from lop_tui.dashboard.model import View
from lop_tui.dashboard.screens import BIN_KEYS, METRIC_KEYS, RANGE_KEYS, OneMetricScreen, Ranged
from lop_tui.dashboard.settings import after
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.views.compare.frame import Pair, configuration, difference_chart, verdict
from lop_tui.dashboard.widgets.chart import TitledChart
from lop_tui.dashboard.widgets.fitted import FittedText


class Name(FittedText):
    """The name of a setting; a click selects the next one."""

    class Clicked(Message):
        """The user clicked on the name."""

        def __init__(self, name: "Name") -> None:
            super().__init__()
            self.clicked = name

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked(self))


class CompareScreen(Ranged, OneMetricScreen):
    """Shows the difference of two settings over their common seeds, with its interval, as a chart and in words."""

    NAME = "Comparison"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "second(1)", "Other method", tooltip="Other method"),
        Binding("N", "second(-1)", "Previous other method", show=False, tooltip="Other method"),
        Binding("a", "first(1)", "Baseline", tooltip="Baseline"),
        Binding("A", "first(-1)", "Previous baseline", show=False, tooltip="Baseline"),
        Binding("o", "swap", "Swap"),
        *METRIC_KEYS,
        *BIN_KEYS[:2],
        *RANGE_KEYS,
    ]

    def __init__(self, label: str | None) -> None:
        super().__init__()
        self.first = label
        self.second: str | None = None
        self.chart_view = TitledChart()
        self.words = FittedText(id="verdict", markup=False)
        self.names = Name(id="second"), Name(id="first")
        self._difference: Difference | None = None
        self._pair: Pair | None = None
        self._chart: Chart | None = None
        self._configuration: list[str] = []
        self._made_for: tuple[object, ...] = ()
        self._series: list[Series] = []

    @classmethod
    def opened(cls, selected: Sequence[RunView], label: str | None) -> "CompareScreen":
        return cls(label)

    def body(self) -> Sequence[Widget]:
        second, first = self.names
        return Horizontal(second, Static("-", id="minus"), first, id="names"), self.words, self.chart_view

    @property
    def page(self) -> str:
        return "differences of paired seeds"

    def needs(self) -> dict[str, Any]:
        labels = self.labels
        if self.first is None and labels:
            self.first = labels[0]
        if self.second is None and len(labels) > 1:
            self.second = after(labels, self.first)
        return {"compare": self._chosen_pair}

    @property
    def _chosen_pair(self) -> tuple[str, str] | None:
        return (self.first, self.second) if self.first and self.second else None

    def pictured(self, view: View) -> Pictured:
        """Return the curves of the two settings, because `lop plot` draws no differences."""
        return Pictured([view.metric], [label for label in self._chosen_pair or () if label in self.labels])

    def selected(self) -> Sequence[RunView]:
        view = self.dashboard.view
        groups = [view.group(label) for label in (self.first, self.second)] if view else []
        return [run for group in groups if group for run in group.runs]

    def forget(self) -> None:
        self.first, self.second = None, None
        self.viewport = Viewport()
        self._ask()

    def back(self) -> bool:
        """Undo the last step: a range, a cursor. Return False if there is neither."""
        undone = self.viewport != Viewport()
        self.action_whole()
        return undone

    def show(self, view: View) -> None:
        super().show(view)
        self._show_names(view)
        missing = [label for label in self._chosen_pair or () if label not in self.labels]
        if missing or self._chosen_pair is None:
            self._difference, self._made_for = None, ()
            self.chart_view.display = False
            self._tell([_why_nothing(missing, view)])
        elif view.request.compare == self._chosen_pair and view.difference:
            self._take(view, view.difference)
            self.look()

    def _take(self, view: View, difference: Difference) -> None:
        """Make the chart, unless it shows the same runs as before."""
        first, second = self._chosen_pair or ("", "")
        groups, row = [view.group(label) for label in (first, second)], view.row(second)
        runs = [run for group in groups if group for run in group.runs]
        first_group = next((group for group in groups if group), None)
        x_per_task = first_group.x_per_task if first_group else 1
        self._pair = Pair(first, second, view.metric, view.shown.problem.x_unit, x_per_task)
        # The reader returns the same series until there is new data.
        carried = [group.carried_to for group in groups if group and any(run.is_ended_by_rule for run in group.runs)]
        made_for = (self._pair, row and row.style, difference.bin_size, *carried, *(id(run.series) for run in runs))
        if made_for != self._made_for and row:
            num_tasks = min(group.num_tasks for group in groups if group)
            self._difference, self._made_for = difference, made_for
            self._configuration = configuration([group for group in groups if group])
            self._series = [run.series for run in runs]  # kept alive, so that ids are not reused
            self._chart = difference_chart(difference, self._pair, row.style, num_tasks)

    def look(self) -> None:
        """Show the chart and the text at the cursor, or without one where the marked difference begins."""
        difference, pair, chart = self._difference, self._pair, self._chart
        if difference is None or pair is None or chart is None:
            return
        self.chart_view.display = bool(len(difference.task))
        self._tell([*verdict(difference, pair, self.viewport.cursor), *self._configuration])
        parts_at = None if difference.parts_at is None else difference.parts_at * pair.x_per_task
        marked = parts_at if self.viewport.cursor is None else self.viewport.cursor
        self.chart_view.show_titled(chart, Viewport(self.viewport.window, marked), pair.title)

    def _tell(self, sentences: Sequence[str]) -> None:
        self.words.update("; ".join(sentences))
        self.words.set_class(not self.chart_view.display, "-alone")

    def _show_names(self, view: View) -> None:
        for name, label in zip(self.names, (self.second, self.first), strict=True):
            row = view.row(label)
            text = sample(row.style, has_colour_samples(self)) if row else Text()
            name.update(text.append(f" {label or '?'}", style="default bold"))

    def on_name_clicked(self, message: Name.Clicked) -> None:
        if message.clicked is self.names[0]:
            self.action_second(1)
        else:
            self.action_first(1)

    def action_second(self, direction: int) -> None:
        self.second = _next_but(self.labels, self.second, self.first, direction)
        self._ask()

    def action_first(self, direction: int) -> None:
        self.first = _next_but(self.labels, self.first, self.second, direction)
        self._ask()

    def action_swap(self) -> None:
        self.first, self.second = self.second, self.first
        self._ask()

    def action_cursor(self, by: float) -> None:
        if self._chart and self.viewport.cursor is None and len(reached := self._chart.lines[0].x):
            # Start from the last bin: there is nothing right of it.
            self.viewport = Viewport(self.viewport.window, float(reached[-1]))
        super().action_cursor(by)

    @property
    def whole(self) -> Axis | None:
        return self._chart.x if self._chart else None

    def _ask(self) -> None:
        self.dashboard.ask(**self.needs())
        if self.dashboard.view:
            self._show_names(self.dashboard.view)


def _next_but(labels: Sequence[str], present: str | None, other: str | None, direction: int) -> str | None:
    """Return the next of `labels` that is not `other`; the current one if it is the only one."""
    free = [label for label in labels if label != other]
    return after(free, present, direction) if free else present


def _why_nothing(missing: Sequence[str], view: View) -> str:
    if not view.groups:
        return "no run matches the filter" if view.num_hidden else "no runs to compare"
    if not missing:
        return "a comparison takes two methods or settings"
    hidden = "hidden by the filter" if view.request.settings.query else "gone"
    verb = "is" if len(missing) == 1 else "are"
    return f"{' and '.join(missing)} {verb} {hidden}; n and a choose others"


SCREEN = CompareScreen
