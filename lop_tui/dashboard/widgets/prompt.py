"""An input line at the bottom of the screen: filter, range, search."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from lop_engine.errors import UserError
from lop_tui.dashboard.widgets.fitted import FittedText

Apply = Callable[[str], None]
"""Applies the text; raises UserError if it is invalid."""


class PromptInput(Input):
    """Names what Enter does; keys that it consumes are not in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Keep")]

    def check_consume_key(self, key: str, character: str | None) -> bool:
        # Textual does not treat the key named slash as a character.
        return key == "slash" or super().check_consume_key(key, character)


class Prompt(Horizontal):
    """Applies the text while it is typed, if valid; Enter keeps it, Escape restores the previous value."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._label = FittedText(id="prompt-label", markup=False)
        self._input = PromptInput(compact=True, select_on_focus=False)
        self._error = FittedText(id="prompt-error", markup=False)
        self._apply: Apply | None = None
        self._before = ""
        self.display = False

    def compose(self) -> ComposeResult:
        yield self._label
        yield self._input
        yield self._error

    @property
    def is_open(self) -> bool:
        return bool(self.display)

    def ask(self, label: str, value: str, apply: Apply, placeholder: str = "") -> None:
        """Open the line with `value` as its text."""
        self._apply, self._before = None, value
        self._label.update(f"{label} ")
        self._input.placeholder = placeholder
        self._input.value = value
        self._input.cursor_position = len(value)
        self._error.update("")
        self._apply = apply
        self.display = True
        self.screen.set_focus(self._input)  # at once, because the next keys go into it

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.display:
            self._try(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_keep()

    def action_keep(self) -> None:
        if self._try(self._input.value):
            self._close()

    def action_cancel(self) -> None:
        self._try(self._before)
        self._close()

    def _try(self, value: str) -> bool:
        if self._apply is None:
            return False
        try:
            self._apply(value)
        except UserError as error:
            self._error.update(f" {error}")
            return False
        self._error.update("")
        return True

    def _close(self) -> None:
        self._apply = None
        self.display = False
        self.screen.focus_next()
        if self.screen.focused is self._input:  # no other widget handles it
            self.screen.set_focus(None)
