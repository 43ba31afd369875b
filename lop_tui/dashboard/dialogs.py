"""Screens over a view: the list of commands, the help, and a question before an action on runs."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static
from textual.worker import Worker

_NOTES = (
    "A line is the mean over seeds of bins of tasks, with a band of one standard error. "
    "Where runs have ended early, the mean is over the seeds that are left (n=2/4). "
    "Stop, resume and log are about the row under the cursor: a method in the first view, a seed in the view of seeds."
)


class CommandsScreen(CommandPalette):
    """Textual's palette, with a search that cannot end the dashboard.

    The search runs in the background, and fails if the palette is closed before it has started.
    """

    def run_worker(self, *args: Any, **options: Any) -> Worker[Any]:
        return super().run_worker(*args, **options | {"exit_on_error": False})


class HelpScreen(ModalScreen[None]):
    """Shows what each key does."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q,enter", "dismiss", "Close")]

    def __init__(self, keys: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        super().__init__()
        self.keys = keys

    def compose(self) -> ComposeResult:
        table = Table.grid(padding=(0, 2))
        for i, (part, keys) in enumerate(self.keys):
            table.add_row(Text("\n" * bool(i)).append(part, style="underline"), "")
            for key, description in keys.items():
                table.add_row(Text(key, style="bold"), description)
        with VerticalScroll(id="keys") as box:
            yield Static(Group(Text(_NOTES, style="italic"), Text(), table))
        box.border_title = "Keys"
        box.border_subtitle = "Escape closes"


class Question(ModalScreen[bool]):
    """Asks whether to do something; the result is the answer.

    Args:
        title: what would be done, in two words.
        text: the runs concerned, a line each; scrolls if it does not fit.
        yes: label of the button that confirms.
    """

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", "The other answer", show=False),
        Binding("up", "scroll('up')", "Scroll", show=False),
        Binding("down", "scroll('down')", "Scroll", show=False),
        Binding("pageup", "scroll('page_up')", "Scroll", show=False),
        Binding("pagedown", "scroll('page_down')", "Scroll", show=False),
    ]

    def __init__(self, title: str, text: str, yes: str) -> None:
        super().__init__()
        self.text = text
        self._box = Vertical(id="question")
        self._box.border_title = title
        self._scroll = VerticalScroll(Static(text, markup=False), can_focus=False)
        self._yes = Button(f"{yes} (y)", id="yes", compact=True)
        self._no = Button("No (n)", id="no", compact=True)

    def compose(self) -> ComposeResult:
        with self._box:
            yield self._scroll
            yield Horizontal(self._yes, self._no)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button is self._yes)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)

    def action_scroll(self, way: str) -> None:
        getattr(self._scroll, f"scroll_{way}")(animate=False)
