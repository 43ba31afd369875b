"""One chart on the screen."""

from typing import ClassVar

from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from lop_tui.dashboard.drawing.chart import Chart
from lop_tui.dashboard.drawing.plots import Painting, paint, plot_area
from lop_tui.dashboard.ink import ink_of
from lop_tui.dashboard.viewport import Viewport, point_at
from lop_tui.words.formats import place, short_value


class ChartView(Widget, can_focus=True):
    """Draws its chart again only if the chart, its size, the viewport, the theme or the markers have changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "enlarge", "Enlarge", tooltip="Enlarge the chart, and back"),
        Binding("enter", "shrink", "All charts", tooltip="Enlarge the chart, and back"),
    ]

    class Chosen(Message):
        """The user asked to enlarge this chart, or to restore the grid."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    class Pointed(Message):
        """The mouse moved to a place on the x axis, or away."""

        def __init__(self, x: float | None) -> None:
            super().__init__()
            self.x = x

    class Zoomed(Message):
        """The user turned the wheel at a place on the x axis; a factor above 1 widens the range."""

        def __init__(self, factor: float, x: float) -> None:
            super().__init__()
            self.factor = factor
            self.x = x

    class Panned(Message):
        """The user dragged the range by a part of the x axis."""

        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place
        self.is_large = False
        """Whether it is enlarged."""
        self.num_drawn = 0
        self._chart: Chart | None = None
        self._show_seeds = False
        self._viewport = Viewport()
        self._drawn: Text | None = None
        self._strips: list[Strip] | None = None
        """The drawing, by line."""
        self._painting: Painting | None = None
        self._titles = Text(), Text()
        self._of: tuple[object, ...] = ()
        """The state that the painting shows."""
        self._held_at: int | None = None
        self._dragged = False

    def show(self, chart: Chart, viewport: Viewport, show_seeds: bool) -> bool:
        """Show `chart`; return False if it is already shown. A visible chart is drawn at once."""
        shown = (chart, viewport, show_seeds)
        if shown == (self._chart, self._viewport, self._show_seeds):
            return False
        self._chart, self._viewport, self._show_seeds = shown
        self._drawn = None
        self._put_titles(self._heading(chart), self._subtitle())
        self._refresh_changed_lines()
        return True

    def _heading(self, chart: Chart) -> Text:
        return Text(f"{self.place + 1} {chart.measure.heading}")

    def _put_titles(self, title: Text, subtitle: Text) -> None:
        """Change the text in the borders; Textual draws the whole widget again for a title, even for the same one."""
        if (title, subtitle) != self._titles:
            self.border_title, self.border_subtitle = self._titles = title, subtitle

    def _refresh_changed_lines(self) -> None:
        """Draw the chart, and refresh the lines that differ from those on the screen: most news changes few."""
        before, width = self._strips, self.content_size.width
        after = self._lines() if before and self.display and width else None
        if not before or not after or len(after) != len(before):
            self.refresh()
        elif changed := [Region(0, y, width, 1) for y, line in enumerate(after) if line != before[y]]:
            self.refresh(*changed)

    def render(self) -> Text:
        width, height = self.content_size
        if self._chart is None or width < 12 or height < 4:
            return Text()
        if self._chart.remark:
            return Text("\n" * (height // 2) + self._chart.remark, style="dim", justify="center")
        ink, window = ink_of(self), self._viewport.window
        of = (self._chart, width, height, ink, self._show_seeds, window)
        if not self._painting or of != self._of:
            self._painting = paint(self._chart, width, height, ink, show_seeds=self._show_seeds, window=window)
            self._of, self._drawn = of, None
            self.num_drawn += 1
        if self._drawn is None:
            self._drawn, self._strips = self._painting.with_cursor(self._viewport.cursor), None
        return self._drawn

    def render_line(self, y: int) -> Strip:
        """Return a line of the drawing as it is: Textual's handling of text takes as long as drawing it."""
        lines = self._lines()
        if lines is None:
            return super().render_line(y)
        return lines[y] if y < len(lines) else Strip.blank(self.content_size.width, self.rich_style)

    def _lines(self) -> list[Strip] | None:
        """Return the lines of the drawing; None if there is only a remark, or nothing."""
        text = self.render()
        if text is not self._drawn:
            self._strips = None
        elif self._strips is None:
            lines, style = Segment.split_lines(text.render(self.app.console)), self.rich_style
            self._strips = [Strip(line, self.content_size.width).apply_style(style) for line in lines]
        return self._strips

    def action_enlarge(self) -> None:
        self.post_message(self.Chosen(self.place))

    def action_shrink(self) -> None:
        self.action_enlarge()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One key enlarges and restores."""
        return {"enlarge": not self.is_large, "shrink": self.is_large}.get(action, True)

    def on_resize(self) -> None:
        if self._chart:
            self._put_titles(self._titles[0], self._subtitle())

    def on_mouse_move(self, event: events.MouseMove) -> None:
        x = self._x_at(event)
        if self._held_at is not None and self._chart and event.x != self._held_at:
            low, high = self._viewport.window_of(self._chart)
            a_column = (high - low) / max(1, plot_area(*self.content_size).columns - 1)
            self.post_message(self.Panned((self._held_at - event.x) * a_column))
            self._held_at, self._dragged = event.x, True
        elif x != self._viewport.cursor:
            self.post_message(self.Pointed(x))

    def on_leave(self, event: events.Leave) -> None:
        if self._held_at is None:
            self.post_message(self.Pointed(None))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1:
            self._held_at, self._dragged = event.x, False
            self.capture_mouse()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        self._held_at = None
        self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._zoom(0.8, event)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._zoom(1.25, event)

    def on_click(self, event: events.Click) -> None:
        if not self._dragged:
            self.action_enlarge()

    def _zoom(self, factor: float, event: events.MouseEvent) -> None:
        x = self._x_at(event)
        if x is not None:
            event.stop()
            self.post_message(self.Zoomed(factor, x))

    def _x_at(self, event: events.MouseEvent) -> float | None:
        """Return the x below the mouse; None outside the data area."""
        offset = event.get_content_offset(self)
        if self._chart is None or offset is None:
            return None
        area = plot_area(*self.content_size)
        if not area.left <= offset.x < area.left + area.columns:
            return None
        return area.x_at(offset.x, self._viewport.window_of(self._chart))

    def _subtitle(self) -> Text:
        """Return the x axis' label; with a cursor its place, and as many lines' values there as fit."""
        chart, cursor = self._chart, self._viewport.cursor
        if chart is None or cursor is None:
            return Text(f"{chart.legend}  {chart.x_unit}".strip() if chart else "")
        words, room = Text(place(cursor, chart.x_unit)), self.size.width - 8
        for line in chart.lines:
            point = point_at(line, cursor)
            if point is None:
                continue
            value = short_value(float(line.curve.mean[point]), chart.measure.scale)
            if words.cell_len + 1 + len(value) > room:
                break
            words.append(" ").append(value, style="" if self.app.no_color else line.colour)
        return words


class TitledChart(ChartView, can_focus=False):
    """A single `ChartView`: its heading is a title instead of number and measure."""

    def __init__(self) -> None:
        super().__init__(place=0)
        self._title = ""

    def _heading(self, chart: Chart) -> Text:
        return Text(self._title)

    def show_titled(self, chart: Chart, viewport: Viewport, title: str) -> None:
        """Show `chart` under `title`, which is plain text."""
        self._title = title
        self.show(chart, viewport, show_seeds=False)
        self._put_titles(Text(title), self._titles[1])
