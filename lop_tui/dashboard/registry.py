"""The list of views. Each is a folder of `views`, with a module `screen`, and `frame` if it has a part in each frame.

To add a view, write these two modules and name it here. `frame` holds `PARTS`, which say what the view wants of a
frame and how that is made (without Textual); `screen` holds `SCREEN`, a `FrameScreen`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from lop_engine.analysis.groups import Group
from lop_tui.dashboard.drawing.chart import Style
from lop_tui.dashboard.settings import Request

_FOLDER = "lop_tui.dashboard.views"


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


@dataclass(frozen=True)
class Entry:
    """A view, and the key that opens it from the first one."""

    name: str
    """Its folder."""
    key: str = ""
    description: str = ""
    tooltip: str = ""
    least: int = 0
    """Settings without which it would be empty."""


#: In the order of the help; the first one is the dashboard's first screen.
VIEWS = (
    Entry("overview"),
    Entry("seeds", "e", "Each seed", "View of each seed (click on the selected row)", least=1),
    Entry("compare", "c", "Compare", "View of two methods' difference", least=2),
    Entry("log"),
)


def parts() -> tuple[Part, ...]:
    """The parts that views have in a frame."""
    modules = [f"{_FOLDER}.{view.name}.frame" for view in VIEWS]
    return tuple(part for module in modules if find_spec(module) for part in import_module(module).PARTS)


def screens() -> Mapping[str, Any]:
    """The screen of each view, a subclass of `FrameScreen`."""
    return {view.name: import_module(f"{_FOLDER}.{view.name}.screen").SCREEN for view in VIEWS}
