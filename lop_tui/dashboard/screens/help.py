"""The keys, generated from the bindings."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

_NOTES = (
    "A line is the mean over seeds, averaged over a few tasks (bins); its band is one standard error either way. "
    "Where runs have ended early, the mean is over the seeds that are left (n=2/4). "
    "Stop, resume and log are about the row under the cursor: a method in the first view, a seed in the view of seeds."
)


class HelpScreen(ModalScreen[None]):
    """What each key does, part by part."""

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
