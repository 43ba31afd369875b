"""The keys, generated from the bindings."""

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.widgets import Static

_NOTES = (
    "A line is the mean over seeds, averaged over a few tasks; its band is one standard error either way. "
    "Where a run has ended early, the mean is over the seeds that are left (n=2/4)."
)


class HelpScreen(ModalScreen[None]):
    """What each key does."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q,enter", "dismiss", "Close")]

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.keys = keys

    def compose(self) -> ComposeResult:
        table = Table.grid(padding=(0, 2))
        for key, description in self.keys:
            table.add_row(Text(key, style="bold"), description)
        box = Static(table, id="keys")
        box.border_title = "Keys"
        yield box
        yield Static(_NOTES, id="notes")
