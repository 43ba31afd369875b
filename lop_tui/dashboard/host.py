"""What screens, control and replay see of the dashboard: what is shown and how, and how to change that."""

from typing import TYPE_CHECKING, Any, Protocol, cast

from lop_tui.dashboard.drawing.canvas import Markers
from lop_tui.dashboard.settings import Request, Settings

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from lop_tui.dashboard.model import View
    from lop_tui.dashboard.widgets.lines import Status


class Host(Protocol):
    """The app of which a screen is one."""

    view: "View | None"
    """The frame on the screen."""
    settings: Settings
    wants: Request
    """What the next frame is to hold."""
    paused: bool

    @property
    def markers(self) -> Markers:
        """What charts are drawn with."""

    def change(self, **settings: Any) -> None:
        """Change settings; the frame that follows them comes as soon as it is computed."""

    def ask(self, **fields: Any) -> None:
        """Have other things in the frames from now on, see `Request`."""

    def status(self) -> "Status":
        """What the line on top of each screen tells."""

    def read_soon(self) -> None:
        """Look at the runs at once: something was done to them."""

    def open_view(self, name: str) -> None:
        """Open a view from the present screen, by the name of its folder."""


def host_of(node: "DOMNode") -> Host:
    """The host of a screen or of an app."""
    return cast(Host, node.app)
