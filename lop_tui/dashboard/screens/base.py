"""What all screens that show frames have in common."""

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

from lop_engine.runs.views import RunView
from lop_tui.dashboard.host import Host, host_of
from lop_tui.dashboard.model import View
from lop_tui.dashboard.settings import BIN_SIZES, after
from lop_tui.dashboard.widgets.key_line import KeyLine
from lop_tui.dashboard.widgets.problem_tabs import ProblemTabs
from lop_tui.dashboard.widgets.prompt import Prompt
from lop_tui.dashboard.widgets.status_line import StatusLine
from lop_tui.dashboard.widgets.system_line import SystemLine
from lop_tui.words.console import plural

BIN_KEYS = [
    Binding("b", "bins(1)", "Larger bins", show=False, tooltip="Bin size"),
    Binding("B", "bins(-1)", "Smaller bins", show=False, tooltip="Bin size"),
    Binding("g", "log", "Log scale", show=False),
]
"""Of all views that show binned metrics."""


class FrameScreen(Screen[None]):
    """Status line, body, prompt and footer. Subclasses give the body and show frames in it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.back", "Back", show=False),
        Binding("tab", "app.focus_next", "Next chart", show=False, tooltip="Next and previous chart"),
        Binding("shift+tab", "app.focus_previous", "Previous chart", show=False, tooltip="Next and previous chart"),
    ]
    AUTO_FOCUS: ClassVar[str | None] = ""
    """Keys go to the view itself; what takes them says so."""
    FILTERS: ClassVar[bool] = True
    """Whether the slash opens the filter here."""
    KEYS_OF_PARTS: ClassVar[list[BindingType]] = []
    """What its widgets bind."""
    NAME: ClassVar[str] = ""
    """Heads its keys in the help."""

    def __init__(self) -> None:
        super().__init__()
        self.status = StatusLine()
        self.tabs = ProblemTabs()
        self.prompt = Prompt()
        self.system = SystemLine()
        self._problem = ""
        """Name of the problem that was shown last."""

    @property
    def dashboard(self) -> Host:
        return host_of(self)

    def compose(self) -> ComposeResult:
        yield self.status
        yield self.tabs
        yield from self.body()
        yield self.prompt
        yield self.system
        yield KeyLine(show_command_palette=False)

    def body(self) -> Sequence[Widget]:
        """The widgets between status line and footer."""
        raise NotImplementedError

    @classmethod
    def opened(cls, selected: Sequence[RunView], label: str | None) -> "FrameScreen | None":
        """The screen, opened on the runs selected before, of the setting `label`; None if that says nothing."""
        return cls()

    def wanted(self) -> dict[str, Any]:
        """What this screen wants of the frames, by the names of its parts, see `parts.Part.wanted`."""
        return {}

    def selected(self) -> Sequence[RunView]:
        """The runs that stop, resume and the log are about."""
        raise NotImplementedError

    @property
    def metric(self) -> str:
        """The metric that one looks at: figures, and the log scale, are about it."""
        view = self.dashboard.view
        return view.metric if view else ""

    def action_bins(self, direction: int) -> None:
        self.dashboard.change(bin_size=after(BIN_SIZES, self.dashboard.settings.bin_size, direction))
        chosen = self.dashboard.settings.bin_size
        self.notify(f"bins of {plural(chosen, 'task')}" if chosen else "bins fitted to the range", timeout=2)

    def action_log(self) -> None:
        metric, other = self.metric, self.dashboard.settings.other_scale
        changed = tuple(one for one in other if one != metric) if metric in other else (*other, metric)
        self.dashboard.change(other_scale=changed)

    @property
    def page(self) -> str:
        """Where in the view one is, in words."""
        return ""

    def back(self) -> bool:
        """Undo the nearest thing on this screen; False if there is nothing to undo."""
        return False

    def forget(self) -> None:
        """Drop what belongs to the problem shown before: a setting, a range, a cursor."""

    def show(self, view: View) -> None:
        """Show a frame in the body; subclasses extend this."""
        before, self._problem = self._problem, view.shown.problem.name
        if before not in ("", self._problem):
            self.forget()
        if self.FILTERS:
            self.tabs.show(view)
        self.system.show(view.usage)
        self.system.display = self.size.height >= 30
        self.show_status()

    def show_status(self) -> None:
        """Bring the line on top up to date."""
        self.status.show(self.dashboard.status(), self.page)

    def on_mount(self) -> None:
        # What came before there was a screen to show it on.
        if self.dashboard.view:
            self.show(self.dashboard.view)
        else:
            self.show_status()

    def on_screen_resume(self) -> None:
        self.dashboard.ask(wants={}, **self.wanted())
        if self.dashboard.view:
            self.show(self.dashboard.view)

    def on_resize(self) -> None:
        if self.dashboard.view:
            self.show(self.dashboard.view)
