"""A single chart with its own heading."""

from rich.text import Text

from lop_tui.dashboard.drawing.chart import Chart
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.widgets.chart import ChartView


class TitledChart(ChartView, can_focus=False):
    """A `ChartView` that is one of none: its heading says more than its number and its measure."""

    def __init__(self) -> None:
        super().__init__(place=0)

    def show_titled(self, chart: Chart, viewport: Viewport, title: str) -> None:
        """Show `chart` under `title`, which is plain text."""
        self.show(chart, viewport, show_seeds=False)
        self.border_title = Text(title)
