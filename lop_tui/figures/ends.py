"""Names at the ends of lines, instead of a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from lop_tui.figures.look import Look
from lop_tui.words.palette import ink


@dataclass(frozen=True)
class End:
    """The end of a line, and its name."""

    x: float
    """Infinite for the edge of the panel."""
    value: float
    text: str
    colour: str


@dataclass(frozen=True)
class _Place:
    """Position of a name: its left middle, in fractions of the panel."""

    x: float
    height: float
    end: End


def label_ends(panel: Axes, ends: Sequence[End], look: Look) -> None:
    """Write each line's name at its end; move names apart if ends are close together.

    A line that ends within the panel is labelled there if there is room, else at the panel's edge.
    """
    panel.get_xlim(), panel.get_ylim()  # fixes the limits, on which the positions below depend
    size = 0.9 * look.looks.font_size
    width, height = _size(panel)
    letter, gap = 0.62 * size / width, 1.35 * size / height
    places = [_place(panel, end) for end in ends]
    inside: list[_Place] = []
    within = sorted((place for place in places if place.x < 0.85), key=lambda place: place.x)
    for x, members in groupby(within, key=lambda place: place.x):
        named = _apart([_Place(x, place.height, place.end) for place in members], gap)
        if all(_is_free(panel, place, letter, gap) for place in named):
            inside += named
    taken = {id(place.end) for place in inside}
    at_edge = _apart([_Place(1.0, place.height, place.end) for place in places if id(place.end) not in taken], gap)
    for place in (*inside, *at_edge):
        panel.annotate(
            place.end.text,
            (place.x, place.height),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            color=ink(place.end.colour),
            va="center",
            fontsize=size,
            annotation_clip=False,
            parse_math=False,
        )


def _place(panel: Axes, end: End) -> _Place:
    x, height = _in_panel(panel, np.array([[min(end.x, panel.get_xlim()[1]), end.value]]))[0]
    return _Place(round(float(x), 3), float(np.clip(np.nan_to_num(height), 0, 1)), end)


def _in_panel(panel: Axes, points: np.ndarray) -> np.ndarray:
    """Convert data points, shape (n, 2), to fractions of the panel."""
    return np.asarray((panel.transData + panel.transAxes.inverted()).transform(points))


def _apart(places: Sequence[_Place], gap: float) -> list[_Place]:
    in_order = sorted(places, key=lambda place: (place.height, place.end.text))
    heights = spread([place.height for place in in_order], gap)
    return [_Place(place.x, height, place.end) for place, height in zip(in_order, heights, strict=True)]


def _is_free(panel: Axes, place: _Place, letter: float, gap: float) -> bool:
    """Whether a name crosses no line or mark, and fits into the panel."""
    right = place.x + letter * (len(place.end.text) + 1)
    across = np.linspace(place.x + letter / 2, right, 40)
    heights = []
    for line in panel.lines:
        points = _in_panel(panel, np.asarray(line.get_xydata(), dtype=float))
        if line.get_transform() == panel.get_yaxis_transform():  # a horizontal level from edge to edge
            points[:, 0] = (0, 1)
        heights.append(np.interp(across, points[:, 0], points[:, 1], left=np.nan, right=np.nan))
    for marks in panel.collections:
        if isinstance(marks, PathCollection):
            points = _in_panel(panel, np.asarray(marks.get_offsets(), dtype=float).reshape(-1, 2))
            heights.append(points[(points[:, 0] > across[0]) & (points[:, 0] < right), 1])
    near = np.abs(np.concatenate(heights) - place.height) < gap / 2
    return right <= 1 and not near.any()


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move rising heights apart until each is `gap` above the one before, with the smallest moves.

    Neighbours that are too close form a block around their common middle, within 0 .. 1 if there is room.
    """
    blocks: list[tuple[float, int]] = []  # (middle, number)
    for height in heights:
        middle, number = height, 1
        while blocks and middle - blocks[-1][0] < gap * (number + blocks[-1][1]) / 2:
            before, num_before = blocks.pop()
            middle, number = (middle * number + before * num_before) / (number + num_before), number + num_before
        blocks.append((middle, number))
    places = [middle + gap * (k - (number - 1) / 2) for middle, number in blocks for k in range(number)]
    return _within(_within(places, gap, 1.0, -1), gap, 0.0, 1)


def _within(places: Sequence[float], gap: float, limit: float, direction: int) -> list[float]:
    """Move rising places off a limit, keeping `gap` between neighbours; 1 is up from 0, -1 down from 1."""
    moved = []
    for place in places[::direction]:
        place = max(place * direction, limit * direction) * direction
        moved.append(place)
        limit = place + gap * direction
    return moved[::direction]


def _size(panel: Axes) -> tuple[float, float]:
    """Estimate a panel's width and height in points: its layout is only known once it is drawn."""
    figure, grid = panel.get_figure(root=True), panel.get_gridspec()
    assert figure is not None
    assert grid is not None
    return 0.65 * 72 * figure.get_figwidth() / grid.ncols, 0.78 * 72 * figure.get_figheight() / grid.nrows
