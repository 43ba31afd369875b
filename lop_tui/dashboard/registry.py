"""The list of views. Each is a folder of `views` with a module `screen`, and `frame` if it adds a part to each frame.

To add a view, write these two modules and name it here. `frame` holds `PARTS`: what the view requests, and how that
part is made (without Textual); `screen` holds `SCREEN`, a `FrameScreen`.
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
    """The input of a part."""

    groups: Sequence[Group]
    styles: Mapping[str, Style]
    """By label."""
    request: Request
    metric: str
    """The metric of single-metric views."""


@dataclass(frozen=True)
class Part:
    """A part of each frame.

    Args:
        name: the attribute of the frame that holds it: `View.seeds`.
        argument: the attribute of the request that asks for it: `Request.heat_of`; None asks for nothing.
        make: makes the part from the material and the value of that attribute.
    """

    name: str
    argument: str
    make: Callable[[Material, Any], Any]


@dataclass(frozen=True)
class Entry:
    """A view, and the key that opens it from the first one."""

    name: str
    """Name of its folder."""
    key: str = ""
    description: str = ""
    tooltip: str = ""
    least: int = 0
    """The view is empty with fewer settings than this."""


#: In the order of the help; the dashboard starts with the first one.
VIEWS = (
    Entry("overview"),
    Entry("seeds", "e", "Each seed", "Each seed of the setting (click on the selected row)", least=1),
    Entry("compare", "c", "Compare", "Difference of two methods", least=2),
    Entry("log"),
)


def parts() -> tuple[Part, ...]:
    """Return the parts that views add to a frame."""
    modules = [f"{_FOLDER}.{view.name}.frame" for view in VIEWS]
    return tuple(part for module in modules if find_spec(module) for part in import_module(module).PARTS)


def screens() -> Mapping[str, Any]:
    """Return the screen of each view, a subclass of `FrameScreen`."""
    return {view.name: import_module(f"{_FOLDER}.{view.name}.screen").SCREEN for view in VIEWS}
