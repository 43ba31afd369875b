"""Space for names in figures: shortens them, measures them, and checks whether a figure is large enough."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lop_engine.runs.logs import clean

LONGEST_NAME = 24
"""Characters: enough for names like ``bp step_size=0.001``."""


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """Return the name in printable characters, with … for the middle of a long one."""
    name = clean(name)
    length = longest - 1
    return name if len(name) <= longest else f"{name[: length - length // 2]}…{name[-(length // 2) :]}"


def shortened(names: Mapping[str, str]) -> dict[str, str]:
    """Shorten `names`, by key, keeping different names different."""
    longest = LONGEST_NAME
    while len({short(name, longest) for name in names.values()}) < len({clean(name) for name in names.values()}):
        longest += 8
    return {key: short(name, longest) for key, name in names.items()}


def room(names: Sequence[str], font_size: float) -> tuple[float, float]:
    """Return the inches that a panel needs with `names` at its right, below each other; `font_size` in points."""
    longest = max(map(len, names), default=0)
    width = 18 + 0.9 * 0.62 * longest  # a small panel, its axis and a name, in units of the font size
    height = max(14, (2 + 1.35 * 0.9 * len(names)) / 0.78)
    return width * font_size / 72, height * font_size / 72


def needed(figure: Figure, font_size: float) -> tuple[int, int]:
    """Return the size in whole inches that the content of `figure` needs."""
    columns = rows = 1
    width = height = 0.0
    for panel in _panels(figure):
        if grid := panel.get_gridspec():
            columns, rows = max(columns, grid.ncols), max(rows, grid.nrows)
        across, up = room([text.get_text() for text in panel.texts], font_size)
        heading = max((0.62 * font_size / 72 * len(text.get_text()) for text in _words(panel)), default=0)
        width, height = max(width, across, heading + 1), max(height, up)
    return math.ceil(width * columns + 0.6), math.ceil(height * rows + 0.3)


def is_cramped(figure: Figure, font_size: float) -> bool:
    """Whether text leaves the figure or overlaps, or leaves no room for lines."""
    figure.draw_without_rendering()  # computes the layout
    words = [text for panel in _panels(figure) for text in _words(panel)]
    boxes = [text.get_window_extent() for text in words]
    edge = 0.04 * figure.dpi
    width, height = figure.bbox.width + edge, figure.bbox.height + edge
    leaves = any(box.x0 < -edge or box.y0 < -edge or box.x1 > width or box.y1 > height for box in boxes)
    least = 4 * font_size / 72 * figure.dpi
    drawn_in = [panel.get_window_extent() for panel in _panels(figure) if panel.get_gridspec()]  # no colour scale
    is_tiny = any(min(box.width, box.height) < least for box in drawn_in)
    return leaves or is_tiny or any(_overlap(one, other) for one, other in combinations(boxes, 2))


def _overlap(one: Bbox, other: Bbox) -> bool:
    """Whether boxes overlap by more than a third of a letter's height: a line's box is higher than its letters."""
    both = Bbox.intersection(one, other)
    return both is not None and min(both.width, both.height) > min(one.width, one.height, other.width, other.height) / 3


def _panels(figure: Figure) -> list[Axes]:
    return [panel for panel in figure.axes if panel.get_visible()]


def _words(panel: Axes) -> list[Text]:
    """Return the texts of a panel: its headings, the names in it and beside it, and its axes' labels."""
    named = [*panel.get_children(), panel.xaxis.label, panel.yaxis.label]
    return [one for one in named if isinstance(one, Text) and one.get_text() and one.get_visible()]
