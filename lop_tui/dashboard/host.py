"""Interface of the app for screens, control and replay: the current frame and settings, and how to change them."""

from typing import TYPE_CHECKING, Any, Protocol, cast

from lop_tui.dashboard.drawing.canvas import Markers
from lop_tui.dashboard.settings import Request, Settings

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from lop_tui.dashboard.model import View
    from lop_tui.dashboard.widgets.lines import Status


class Host(Protocol):
    """The app that a screen belongs to."""

    view: "View | None"
    """The current frame."""
    settings: Settings
    wants: Request
    """What the next frame must contain."""
    paused: bool

    @property
    def markers(self) -> Markers:
        """Return the characters that charts are drawn with."""

    def change(self, **settings: Any) -> None:
        """Change settings; the frame that shows them is computed in the background."""

    def ask(self, **fields: Any) -> None:
        """Change what frames contain from now on, see `Request`."""

    def status(self) -> "Status":
        """Return the content of the status line of every screen."""

    def read_soon(self) -> None:
        """Read the runs now, because something changed them."""

    def open_view(self, name: str) -> None:
        """Open a view from the current screen, by the name of its folder."""


def host_of(node: "DOMNode") -> Host:
    """Return the host of a screen or an app."""
    return cast(Host, node.app)
