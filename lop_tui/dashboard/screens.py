"""Base classes of the views' screens: all show frames, some show a single metric, some move along the x axis."""

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

from lop_engine.runs.views import RunView
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.figure import Pictured
from lop_tui.dashboard.host import Host, host_of
from lop_tui.dashboard.model import View
from lop_tui.dashboard.settings import BIN_SIZES, after
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.widgets.chart import ChartView
from lop_tui.dashboard.widgets.lines import KeyLine, ProblemTabs, StatusLine, SystemLine
from lop_tui.dashboard.widgets.prompt import Prompt
from lop_tui.words.console import plural

BIN_KEYS = [
    Binding("b", "bins(1)", "Larger bins", show=False, tooltip="Bin size"),
    Binding("B", "bins(-1)", "Smaller bins", show=False, tooltip="Bin size"),
    Binding("g", "log", "Log scale", show=False),
]
"""Keys of all views that show binned metrics."""
METRIC_KEYS = [
    Binding("right_square_bracket", "metric(1)", "Metric", key_display="]", tooltip="Metric"),
    Binding("left_square_bracket", "metric(-1)", "Previous metric", key_display="[", show=False, tooltip="Metric"),
]
STEP_SHARE, LEAP_SHARE = 1 / 60, 1 / 6
"""How far the cursor moves, as a share of the visible range."""

RANGE_KEYS = [
    Binding("left", f"cursor({-STEP_SHARE})", "Cursor", show=False, tooltip="Cursor (mouse): the values at a task"),
    Binding("right", f"cursor({STEP_SHARE})", "Cursor", show=False, tooltip="Cursor (mouse): the values at a task"),
    Binding("shift+left", f"cursor({-LEAP_SHARE})", "Cursor", show=False, tooltip="Move the cursor by a larger step"),
    Binding("shift+right", f"cursor({LEAP_SHARE})", "Cursor", show=False, tooltip="Move the cursor by a larger step"),
    Binding("plus,equals_sign", "zoom(0.5)", "Zoom in", key_display="+", show=False, tooltip="Zoom (wheel)"),
    Binding("minus", "zoom(2)", "Zoom out", key_display="-", show=False, tooltip="Zoom (wheel)"),
    Binding("comma", "pan(-1)", "Range to the left", key_display=",", show=False, tooltip="Move the range (drag)"),
    Binding("full_stop", "pan(1)", "Range to the right", key_display=".", show=False, tooltip="Move the range (drag)"),
    Binding("0", "whole", "Whole range, no cursor", show=False),
]


class FrameScreen(Screen[None]):
    """Status line, body, prompt and footer. Subclasses define the body and show frames in it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.back", "Back", show=False),
        Binding("tab", "app.focus_next", "Next chart", show=False, tooltip="Next and previous chart"),
        Binding("shift+tab", "app.focus_previous", "Previous chart", show=False, tooltip="Next and previous chart"),
    ]
    AUTO_FOCUS: ClassVar[str | None] = ""
    """Keys go to the view itself, unless a widget takes the focus."""
    FILTERS: ClassVar[bool] = True
    """Whether the slash opens the filter."""
    KEYS_OF_PARTS: ClassVar[list[BindingType]] = []
    """Bindings of its widgets."""
    NAME: ClassVar[str] = ""
    """Heading of its keys in the help."""

    def __init__(self) -> None:
        super().__init__()
        self.status = StatusLine()
        self.tabs = ProblemTabs()
        self.prompt = Prompt()
        self.system = SystemLine()
        self._problem = ""
        """Name of the problem shown last."""

    @property
    def dashboard(self) -> Host:
        return host_of(self)

    def compose(self) -> ComposeResult:
        yield self.status
        yield self.tabs
        yield from self.body()
        yield self.prompt
        yield self.system
        yield KeyLine(show_command_palette=False)

    def body(self) -> Sequence[Widget]:
        """Return the widgets between status line and footer."""
        raise NotImplementedError

    @classmethod
    def opened(cls, selected: Sequence[RunView], label: str | None) -> "FrameScreen | None":
        """Return the screen for the selected runs, of the setting `label`; None if it has nothing to show."""
        return cls()

    def needs(self) -> dict[str, Any]:
        """Return what this screen needs in frames, by name, see `registry.Part.argument`."""
        return {}

    def selected(self) -> Sequence[RunView]:
        """Return the runs for stop, resume and the log."""
        raise NotImplementedError

    @property
    def metric(self) -> str:
        """Return the metric whose scale the log key changes."""
        view = self.dashboard.view
        return view.metric if view else ""

    def pictured(self, view: View) -> Pictured:
        """Return the content of this screen for a figure."""
        return Pictured([self.metric] if self.metric else [], [group.label for group in view.groups])

    def action_bins(self, direction: int) -> None:
        self.dashboard.change(bin_size=after(BIN_SIZES, self.dashboard.settings.bin_size, direction))
        chosen = self.dashboard.settings.bin_size
        self.notify(f"bins of {plural(chosen, 'task')}" if chosen else "bins fitted to the range", timeout=2)

    def action_log(self) -> None:
        metric, other = self.metric, self.dashboard.settings.other_scale
        changed = tuple(one for one in other if one != metric) if metric in other else (*other, metric)
        self.dashboard.change(other_scale=changed)

    @property
    def page(self) -> str:
        """Return the position in the view as text."""
        return ""

    def back(self) -> bool:
        """Undo the last step on this screen; return False if there is nothing to undo."""
        return False

    def forget(self) -> None:
        """Reset what belongs to the previous problem: a setting, a range, a cursor."""

    def show(self, view: View) -> None:
        """Show a frame in the body; subclasses extend this method."""
        before, self._problem = self._problem, view.shown.problem.name
        if before not in ("", self._problem):
            self.forget()
        if self.FILTERS:
            self.tabs.show(view)
        self.system.show(view.usage)
        self.system.display = self.size.height >= 30
        self.show_status()

    def show_status(self) -> None:
        """Update the status line."""
        self.status.show(self.dashboard.status(), self.page)

    def on_mount(self) -> None:
        # The message came before there was a screen to show it.
        if self.dashboard.view:
            self.show(self.dashboard.view)
        else:
            self.show_status()

    def on_screen_resume(self) -> None:
        self.dashboard.ask(wants={}, **self.needs())
        if self.dashboard.view:
            self.show(self.dashboard.view)

    def on_resize(self) -> None:
        if self.dashboard.view:
            self.show(self.dashboard.view)


class OneMetricScreen(FrameScreen):
    """A view of one of the recorded metrics."""

    @property
    def labels(self) -> list[str]:
        """Return every setting that matches the filter."""
        view = self.dashboard.view
        return [group.label for group in view.groups] if view else []

    def action_metric(self, direction: int) -> None:
        view = self.dashboard.view
        if view and (metrics := view.shown.recorded):
            self.dashboard.change(metric=after(metrics, view.metric, direction))


class Ranged:
    """Mixin: keys and mouse that move a viewport."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.viewport = Viewport()

    @property
    def whole(self) -> Axis | None:
        """Return the x axis to move along; None if there is none."""
        raise NotImplementedError

    def look(self) -> None:
        """Show the range and cursor of the viewport at once."""
        raise NotImplementedError

    def move(self, viewport: Viewport) -> None:
        """Change the range or the cursor."""
        if viewport != self.viewport:
            self.viewport = viewport
            self.look()

    def on_chart_view_pointed(self, message: ChartView.Pointed) -> None:
        self.move(Viewport(self.viewport.window, message.x))

    def on_chart_view_zoomed(self, message: ChartView.Zoomed) -> None:
        if whole := self.whole:
            self.move(self.viewport.zoomed(message.factor, message.x, whole))

    def on_chart_view_panned(self, message: ChartView.Panned) -> None:
        if whole := self.whole:
            self.move(self.viewport.panned(message.by, whole))

    def action_cursor(self, by: float) -> None:
        if whole := self.whole:
            self.move(self.viewport.with_cursor_moved(by, whole))

    def action_zoom(self, factor: float) -> None:
        if whole := self.whole:
            self.move(self.viewport.zoomed(factor, self.viewport.cursor, whole))

    def action_pan(self, direction: int) -> None:
        if whole := self.whole:
            low, high = self.viewport.window or (whole.low, whole.high)
            self.move(self.viewport.panned(direction * (high - low) / 4, whole))

    def action_whole(self) -> None:
        self.move(Viewport())
