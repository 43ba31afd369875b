"""The charts of the first view: as many as fit on the screen, the others on further pages; or one, enlarged."""

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Grid
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import SelectionList
from textual.widgets.selection_list import Selection

from lop_engine.experiment import lookup
from lop_engine.runs.logs import clean
from lop_tui.dashboard.drawing.chart import Chart
from lop_tui.dashboard.drawing.plots import sample
from lop_tui.dashboard.ink import has_colour_samples
from lop_tui.dashboard.model import View
from lop_tui.dashboard.rows import Row, value_at
from lop_tui.dashboard.viewport import Viewport, point_at
from lop_tui.dashboard.widgets.chart import ChartView
from lop_tui.dashboard.widgets.fitted import FittedText
from lop_tui.words.formats import place

LEAST_WIDTH, LEAST_HEIGHT = 38, 9
TOGETHER_S = 0.015
"""How long charts are drawn before the screen is updated and keys are handled."""
MOST_ON_PAGE = 6
"""Most charts on a page, in two or three columns."""


def grid_shape(width: int, height: int) -> tuple[int, int]:
    """Return columns and rows of charts that are readable in an area; no more rows than six charts need."""
    columns = max(1, min(4 if width >= 4 * 55 else 3, width // LEAST_WIDTH))
    return columns, max(1, min(height // LEAST_HEIGHT, -(-MOST_ON_PAGE // columns)))


class ChartGrid(Container):
    """A widget for each chart; those of other pages are hidden and not drawn."""

    class Arranged(Message):
        """The charts on the screen have changed."""

    def __init__(self) -> None:
        super().__init__()
        self.enlarged: int | None = None
        self._charts = [ChartView(place) for place in range(MOST_ON_PAGE)]
        self._legend = FittedText(id="legend")
        self._grid = Grid(*self._charts)
        self._view: View | None = None
        self._viewport = Viewport()
        self.waiting: list[int] = []
        """Charts to be shown next."""
        self._is_drawn = False
        """Whether the last chart has been drawn already, not with the next update of the screen."""
        self._first = 0
        self._page_size = MOST_ON_PAGE
        self._names_lines = False

    def compose(self) -> ComposeResult:
        yield self._legend
        yield self._grid

    @property
    def page(self) -> str:
        """Return the charts on the screen as text."""
        if self.enlarged is not None:
            return "Escape goes back"
        last = min(self._first + self._page_size, self.num_charts)
        return f"charts {self._first + 1}-{last} of {self.num_charts}" if self.has_more else ""

    @property
    def num_charts(self) -> int:
        return len(self._view.panels) if self._view else MOST_ON_PAGE

    @property
    def has_more(self) -> bool:
        """Whether there are charts on other pages."""
        return self.enlarged is not None or self._page_size < self.num_charts

    @property
    def shown_metric(self) -> str:
        """Return the metric of the chart that is enlarged or focused."""
        if not self._view or not self._view.panels:
            return self._view.metric if self._view else ""
        focused = next((widget.place for widget in self._charts if widget.has_focus), 0)
        place = focused if self.enlarged is None else self.enlarged
        return self._view.panels[min(place, self.num_charts - 1)].measure.name

    @property
    def drawn_metrics(self) -> list[str]:
        """Return the metrics of the charts on the screen that have lines."""
        panels = self._view.panels if self._view else ()
        shown = [panels[widget.place] for widget in self._charts if widget.display and widget.place < len(panels)]
        return [chart.measure.name for chart in shown if any(len(line.x) for line in chart.lines)]

    def show(self, view: View, viewport: Viewport) -> None:
        """Pass charts to their widgets; those that have not changed are not drawn again.

        A cursor moves in all charts at once; changed charts are drawn one after another, with keys handled between.
        """
        num_charts, before = self.num_charts, self._viewport
        self._view, self._viewport = view, viewport
        if num_charts != self.num_charts:
            self._make_room()
            self._arrange()
        self.waiting = list(range(self.num_charts))
        if viewport.window == before.window and viewport.cursor != before.cursor:
            while self.waiting:
                self._show_one()
        self._show_next()
        self._update_legend()

    @property
    def _shows_seeds(self) -> bool:
        return bool(self._view and self._view.request.settings.show_seeds)

    def _show_next(self) -> None:
        """Show charts for a short time, or up to the first that is drawn with the screen; then let the screen update.

        An update costs more than a chart that has changed little.
        """
        began = time.monotonic()
        while self.waiting:
            if self._show_one() and not (self._is_drawn and time.monotonic() - began < TOGETHER_S):
                self.call_after_refresh(self._show_next)
                return

    def _show_one(self) -> bool:
        """Show the next waiting chart; return whether it must be drawn."""
        place = self.waiting.pop(0)
        if not self._view or place >= len(self._view.panels):
            return False
        widget = self._charts[place]
        num_drawn = widget.num_drawn
        is_new = widget.show(self._view.panels[place], self._viewport, self._shows_seeds)
        self._is_drawn = widget.num_drawn > num_drawn
        return is_new and bool(widget.display)

    def enlarge(self, place: int | None) -> None:
        """Enlarge one chart; None, or the same chart, restores the grid."""
        if place is not None and place >= self.num_charts:
            return
        self.enlarged = None if place == self.enlarged else place
        self._arrange()

    def name_lines(self, has_names: bool) -> None:
        """Show or hide the names of lines above the charts: needed if the table has no room for all settings."""
        if has_names != self._names_lines:
            self._names_lines = has_names
            self._arrange()

    def turn(self, direction: int) -> None:
        """Go to the next (1) or previous (-1) page, or chart if one is enlarged, cyclically."""
        if self.enlarged is not None:
            self.enlarged = (self.enlarged + direction) % self.num_charts
        else:
            starts = range(0, self.num_charts, self._page_size)
            self._first = starts[(self._first // self._page_size + direction) % len(starts)]
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_mount(self) -> None:
        self._legend.display = False

    def _make_room(self) -> None:
        """Create a widget for each chart."""
        new = [ChartView(place) for place in range(len(self._charts), self.num_charts)]
        if new:
            self._charts += new
            self._grid.mount(*new)

    def _arrange(self) -> None:
        if self.enlarged is not None and self.enlarged >= self.num_charts:
            self.enlarged = None
        if self.enlarged is None:
            columns, rows = grid_shape(*self.size)
            self._page_size = columns * rows
            self._first = max(0, min(self._first, self.num_charts - 1))
            self._first -= self._first % self._page_size
            # Without a size it has not been laid out, and charts would be drawn in a size that does not last.
            shown = list(range(self.num_charts))[self._first : self._first + self._page_size] if self.size else []
            self._grid.styles.grid_size_columns = max(1, min(columns, len(shown)))
            self._grid.styles.grid_size_rows = max(1, -(-len(shown) // columns))
        else:
            shown = [self.enlarged]
            self._grid.styles.grid_size_columns = self._grid.styles.grid_size_rows = 1
        for widget in self._charts:
            widget.display = widget.place in shown
            widget.is_large = self.enlarged is not None
        self._legend.display = self.enlarged is not None or self._names_lines
        focused = self.screen.focused
        if shown and (focused is None or (isinstance(focused, ChartView) and not focused.display)):
            self._charts[shown[0]].focus()
        self._update_legend()
        self.post_message(self.Arranged())

    def _update_legend(self) -> None:
        if not self._view or not self._legend.display:
            return
        width, coloured = self.size.width - 2, has_colour_samples(self)
        if self.enlarged is None:
            self._legend.update(names(self._view.rows, width, coloured))
        elif self._view.panels:
            chart = self._view.panels[self.enlarged]
            self._legend.update(legend(chart, width, self._viewport.cursor, coloured))


MOST_NAME_ROWS = 2


def names(rows: Sequence[Row], width: int, coloured: bool = True) -> Text:
    """Return sample and name of each setting with lines, in two rows of `width`, and the number of others."""
    drawn = [row for row in rows if row.is_drawn]
    entries = [sample(row.style, coloured).append(f" {row.short_label}", style="default") for row in drawn]
    shown = _in_rows(entries, width)
    num_shown = len(entries)
    while len(shown) > MOST_NAME_ROWS:
        num_shown -= 1
        more = Text(f"and {len(entries) - num_shown} more", style="dim")
        shown = _in_rows([*entries[:num_shown], more], width)
    return _joined(shown)


def legend(chart: Chart, width: int, cursor: float | None = None, coloured: bool = True) -> Text:
    """Return sample, name and value of each line at the cursor or its end, in rows of `width`."""
    entries = [Text(place(cursor, chart.x_unit), style="bold")] if cursor is not None else []
    for line in chart.lines:
        entry = sample(line, coloured).append(f" {line.label}", style="default bold")
        point = -1 if cursor is None else point_at(line, cursor)
        value = "" if point is None else " ".join(value_at(line.curve, point, line.num_seeds, chart.measure.scale))
        entry.append(f" {value or '-'}".rstrip(), style="default")
        entries.append(entry)
    return _joined(_in_rows(entries, width))


def _in_rows(entries: Sequence[Text], width: int) -> list[list[Text]]:
    """Join entries to rows of `width`, three spaces apart."""
    rows: list[list[Text]] = [[]]
    for entry in entries:
        if rows[-1] and sum(other.cell_len + 3 for other in rows[-1]) + entry.cell_len > width:
            rows.append([])
        rows[-1].append(entry)
    return rows


def _joined(rows: Sequence[Sequence[Text]]) -> Text:
    return Text("\n").join(Text("   ").join(row) for row in rows)


class ChartChoice(ModalScreen[None]):
    """A list of the recorded metrics; changes apply at once.

    Args:
        names: all metrics, in their current order.
        chosen: those that have a chart.
        apply: called with the metrics that have a chart, in order; None for the default.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right_square_bracket", "move(1)", "Move down"),
        Binding("left_square_bracket", "move(-1)", "Move up"),
        Binding("0", "reset", "Default"),
        Binding("escape,a,q", "dismiss", "Close"),
    ]

    def __init__(
        self, names: Sequence[str], chosen: Sequence[str], apply: Callable[[tuple[str, ...] | None], None]
    ) -> None:
        super().__init__()
        self._names, self._apply = list(names), apply
        self._list = SelectionList[str](*self._selections(chosen), id="choice", compact=True)
        self._list.border_title = "Charts"
        self._list.border_subtitle = "space: show or not  [ ]: move  0: default  Escape: close"

    def compose(self) -> ComposeResult:
        yield self._list

    def on_selection_list_selected_changed(self, event: SelectionList.SelectedChanged[str]) -> None:
        event.stop()
        self._tell()

    def action_move(self, by: int) -> None:
        """Move the metric under the cursor one place up or down."""
        at = self._list.highlighted
        if at is None or not 0 <= at + by < len(self._names):
            return
        self._names[at], self._names[at + by] = self._names[at + by], self._names[at]
        chosen = self._list.selected
        with self.prevent(SelectionList.SelectedChanged):
            self._list.clear_options()
            self._list.add_options(self._selections(chosen))
        self._list.highlighted = at + by
        self._tell()

    def action_reset(self) -> None:
        """Restore the default charts, and close."""
        self._apply(None)
        self.dismiss()

    def _selections(self, chosen: Sequence[str]) -> list[Selection[str]]:
        return [Selection(Content(clean(lookup.metric(name).title)), name, name in chosen) for name in self._names]

    def _tell(self) -> None:
        selected = self._list.selected
        if selected:
            self._apply(tuple(name for name in self._names if name in selected))
