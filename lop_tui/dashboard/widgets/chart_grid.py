"""As many charts as the screen holds, the others a page away; or one, enlarged."""

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Grid
from textual.message import Message
from textual.widgets import Static

from lop_tui.dashboard.model import MEASURES, Chart, View, last_value
from lop_tui.dashboard.plots import sample
from lop_tui.dashboard.widgets.chart import ChartView

LEAST_WIDTH, LEAST_HEIGHT = 38, 9
NUM_CHARTS = len(MEASURES)


def grid_shape(width: int, height: int) -> tuple[int, int]:
    """Columns and rows of charts that a screen area holds readably."""
    columns = max(1, min(3, width // LEAST_WIDTH))
    return columns, max(1, min(height // LEAST_HEIGHT, -(-NUM_CHARTS // columns)))


class ChartGrid(Container):
    """All charts exist all the time; those off the page are hidden and are not drawn."""

    class Arranged(Message):
        """Other charts are on the screen than before."""

    def __init__(self) -> None:
        super().__init__()
        self.enlarged: int | None = None
        self._charts = [ChartView(place) for place in range(NUM_CHARTS)]
        self._legend = Static(id="legend")
        self._grid = Grid(*self._charts)
        self._view: View | None = None
        self._show_seeds = False
        self._first = 0
        self._page_size = NUM_CHARTS

    def compose(self) -> ComposeResult:
        yield self._legend
        yield self._grid

    @property
    def page(self) -> str:
        """What is on the screen, in words."""
        if self.enlarged is not None:
            return "Escape goes back"
        last = min(self._first + self._page_size, NUM_CHARTS)
        return f"charts {self._first + 1}-{last} of {NUM_CHARTS}" if self.has_more else ""

    def show(self, view: View, show_seeds: bool) -> None:
        """Hand the charts on to their widgets; those that have not changed stay as they are."""
        self._view, self._show_seeds = view, show_seeds
        for widget, chart in zip(self._charts, view.charts, strict=True):
            widget.show(chart, show_seeds)
        self._update_legend()

    @property
    def has_more(self) -> bool:
        """Whether there are charts that the screen does not show."""
        return self.enlarged is not None or self._page_size < NUM_CHARTS

    def enlarge(self, place: int | None) -> None:
        """Give all room to one chart; None, or the same again, gives it back."""
        self.enlarged = None if place == self.enlarged else place
        self._arrange()

    def turn(self, direction: int) -> None:
        """Go to the next (1) or previous (-1) page, or chart if one is enlarged; after the last comes the first."""
        if self.enlarged is not None:
            self.enlarged = (self.enlarged + direction) % NUM_CHARTS
        else:
            starts = range(0, NUM_CHARTS, self._page_size)
            self._first = starts[(self._first // self._page_size + direction) % len(starts)]
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_mount(self) -> None:
        self._legend.display = False

    def _arrange(self) -> None:
        if self.enlarged is None:
            columns, rows = grid_shape(*self.size)
            self._page_size = columns * rows
            self._first -= self._first % self._page_size
            shown = list(range(NUM_CHARTS))[self._first : self._first + self._page_size]
            self._grid.styles.grid_size_columns = min(columns, len(shown))
            self._grid.styles.grid_size_rows = -(-len(shown) // columns)
        else:
            shown = [self.enlarged]
            self._grid.styles.grid_size_columns = self._grid.styles.grid_size_rows = 1
        for widget in self._charts:
            widget.display = widget.place in shown
        self._legend.display = self.enlarged is not None
        if not any(widget.has_focus for widget in self._charts if widget.display):
            self._charts[shown[0]].focus()
        self._update_legend()
        self.post_message(self.Arranged())

    def _update_legend(self) -> None:
        if self.enlarged is not None and self._view and self._view.charts:
            self._legend.update(legend(self._view.charts[self.enlarged], self.size.width - 2, not self.app.no_color))


def legend(chart: Chart, width: int, coloured: bool = True) -> Text:
    """Sample, name and last value of each line, as many to a row of `width` as fit."""
    entries = []
    for line in chart.lines:
        entry = sample(line.colour, line.marker, coloured).append(f" {line.label}", style="default bold")
        value = " ".join(last_value(line.curve, line.num_seeds, chart.measure.scale))
        entry.append(f" {value}".rstrip(), style="default")
        entries.append(entry)
    rows: list[list[Text]] = [[]]
    for entry in entries:
        if rows[-1] and sum(other.cell_len + 3 for other in rows[-1]) + entry.cell_len > width:
            rows.append([])
        rows[-1].append(entry)
    return Text("\n").join(Text("   ").join(row) for row in rows)
