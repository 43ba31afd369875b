"""What a view wants of each frame, and how its part of the frame is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lop_engine.analysis.groups import Group
from lop_tui.dashboard.rows import Style
from lop_tui.dashboard.settings import Request


@dataclass(frozen=True)
class Material:
    """What a part is made of."""

    groups: Sequence[Group]
    styles: Mapping[str, Style]
    """By label."""
    request: Request
    metric: str
    """What views of a single metric show."""


@dataclass(frozen=True)
class Part:
    """A part of each frame.

    Args:
        name: the frame has it by that name: `View.seeds`.
        wanted: the request says by that name what is wanted: `Request.heat_of`; None if nothing is.
        make: makes it of the material and of what is wanted.
    """

    name: str
    wanted: str
    make: Callable[[Material, Any], Any]
