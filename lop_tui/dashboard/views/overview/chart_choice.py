"""Choosing which charts are shown, and in which order."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import SelectionList
from textual.widgets.selection_list import Selection

from lop_engine.experiment import seen
from lop_engine.runs.logs import clean


class ChartChoice(ModalScreen[None]):
    """A list of the recorded metrics; what is changed in it is shown at once.

    Args:
        names: all metrics, in the present order.
        chosen: those that have a chart.
        apply: takes the metrics that have a chart, in their order; None for the default.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right_square_bracket", "move(1)", "Move down"),
        Binding("left_square_bracket", "move(-1)", "Move up"),
        Binding("0", "reset", "Default"),
        Binding("escape,a,q", "dismiss", "Close"),
    ]

    def __init__(
        self, names: Sequence[str], chosen: Sequence[str], apply: Callable[[tuple[str, ...] | None], None]
    ) -> None:
        super().__init__()
        self._names, self._apply = list(names), apply
        self._list = SelectionList[str](*self._selections(chosen), id="choice", compact=True)
        self._list.border_title = "Charts"
        self._list.border_subtitle = "space: show or not  [ ]: move  0: default  Escape: close"

    def compose(self) -> ComposeResult:
        yield self._list

    def on_selection_list_selected_changed(self, event: SelectionList.SelectedChanged[str]) -> None:
        event.stop()
        self._tell()

    def action_move(self, by: int) -> None:
        """Move the metric under the cursor by one place."""
        at = self._list.highlighted
        if at is None or not 0 <= at + by < len(self._names):
            return
        self._names[at], self._names[at + by] = self._names[at + by], self._names[at]
        chosen = self._list.selected
        with self.prevent(SelectionList.SelectedChanged):
            self._list.clear_options()
            self._list.add_options(self._selections(chosen))
        self._list.highlighted = at + by
        self._tell()

    def action_reset(self) -> None:
        """Show the charts that lop shows by default, and close."""
        self._apply(None)
        self.dismiss()

    def _selections(self, chosen: Sequence[str]) -> list[Selection[str]]:
        return [Selection(Content(clean(seen.metric(name).title)), name, name in chosen) for name in self._names]

    def _tell(self) -> None:
        selected = self._list.selected
        if selected:
            self._apply(tuple(name for name in self._names if name in selected))
