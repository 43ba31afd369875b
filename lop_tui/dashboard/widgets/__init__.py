"""The parts of the screen; each is given a frame and shows its part of it."""

from lop_tui.dashboard.widgets.chart_grid import ChartGrid
from lop_tui.dashboard.widgets.help import HelpScreen
from lop_tui.dashboard.widgets.notices import Notices
from lop_tui.dashboard.widgets.runs_table import RunsTable
from lop_tui.dashboard.widgets.status_line import StatusLine

__all__ = ["ChartGrid", "HelpScreen", "Notices", "RunsTable", "StatusLine"]
