"""Figures for papers and talks, drawn with matplotlib from `lop_engine.analysis`.

The same records give the same file, byte for byte.
"""

from lop_tui.figures.look import FORMATS, STYLES, Look, as_svg, save
from lop_tui.figures.over_tasks import Panel, draw, draw_panels, draw_sweep, swept_setting
from lop_tui.figures.settings import Settings, draw_grid, draw_sensitivity
from lop_tui.figures.single_seeds import draw_heatmap, draw_seeds
from lop_tui.figures.within_task import TaskEpochs, draw_epochs

__all__ = [
    "FORMATS",
    "STYLES",
    "Look",
    "Panel",
    "Settings",
    "TaskEpochs",
    "as_svg",
    "draw",
    "draw_epochs",
    "draw_grid",
    "draw_heatmap",
    "draw_panels",
    "draw_seeds",
    "draw_sensitivity",
    "draw_sweep",
    "save",
    "swept_setting",
]
