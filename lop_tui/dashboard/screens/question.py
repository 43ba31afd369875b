"""A question before something is done to runs."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static


class Question(ModalScreen[bool]):
    """Says what would be done; its result: whether to do it.

    Args:
        title: what would be done, in two words.
        text: what it would be done to, in lines; scrolls where there is no room for all of it.
        yes: what the button says that does it.
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
