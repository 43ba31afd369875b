"""The views of the dashboard: each shows frames its own way."""

from lop_tui.dashboard.screens.base import FrameScreen
from lop_tui.dashboard.screens.compare import CompareScreen
from lop_tui.dashboard.screens.help import HelpScreen
from lop_tui.dashboard.screens.log import LogScreen
from lop_tui.dashboard.screens.overview import OverviewScreen
from lop_tui.dashboard.screens.seeds import SeedsScreen

__all__ = ["CompareScreen", "FrameScreen", "HelpScreen", "LogScreen", "OverviewScreen", "SeedsScreen"]
