"""One chart on the screen."""

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.message import Message
from textual.widget import Widget

from lop_tui.dashboard.model import Chart
from lop_tui.dashboard.plots import Ink, Rgb, draw


class ChartView(Widget, can_focus=True):
    """Draws its chart anew only if that, its size, the theme or the kind of lines has changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "enlarge", "Enlarge / back"),
        Binding("tab", "app.focus_next", "Next chart", show=False),
        Binding("shift+tab", "app.focus_previous", "Previous chart", show=False),
    ]

    class Chosen(Message):
        """The user asked for this chart to be enlarged, or put back."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place
        self.num_drawn = 0
        self._chart: Chart | None = None
        self._show_seeds = False
        self._drawn: Text | None = None
        self._drawn_for: tuple[object, ...] = ()

    def show(self, chart: Chart, show_seeds: bool) -> None:
        """Show `chart`; nothing happens if it is the one that is shown."""
        if chart is self._chart and show_seeds == self._show_seeds:
            return
        self._chart, self._show_seeds, self._drawn = chart, show_seeds, None
        self.border_title = f"{self.place + 1} {chart.measure.title}"
        self.border_subtitle = "task"
        self.refresh()

    def render(self) -> Text:
        width, height = self.content_size
        if self._chart is None or width < 12 or height < 4:
            return Text()
        now = (width, height, ink := self._ink())
        if not self._drawn or now != self._drawn_for:
            self._drawn, self._drawn_for = draw(self._chart, width, height, ink, self._show_seeds), now
            self.num_drawn += 1
        return self._drawn

    def action_enlarge(self) -> None:
        self.post_message(self.Chosen(self.place))

    def on_click(self, event: events.Click) -> None:
        self.action_enlarge()

    def _ink(self) -> Ink:
        _, background = self.background_colors
        foreground = Color.parse(self.app.theme_variables["foreground"])
        return Ink(_rgb(background), _rgb(background.blend(foreground, 0.55)), not self.app.no_color)


def _rgb(colour: Color) -> Rgb:
    return colour.r, colour.g, colour.b
