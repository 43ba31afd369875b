"""The screen of the single seeds of a setting: which one fails when, and the epochs of a task."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import DataTable, Static

from lop_engine.runs.views import RunView
from lop_tui.dashboard.figure import Pictured
from lop_tui.dashboard.model import View
from lop_tui.dashboard.screens import BIN_KEYS, METRIC_KEYS, OneMetricScreen
from lop_tui.dashboard.settings import after
from lop_tui.dashboard.views.seeds.epochs import EpochsView
from lop_tui.dashboard.views.seeds.frame import Seeds
from lop_tui.dashboard.views.seeds.heat_map import HeatMap
from lop_tui.dashboard.views.seeds.seed_table import SORTS, SeedTable, in_order
from lop_tui.dashboard.widgets.chart import ChartView

WIDE = 120
"""From this width on the epochs are beside the table."""
TABLE_HEIGHT = 4
"""Least height that the heat map leaves to the table."""
HEAT_EXTRA = 5
"""Rows of the heat map that are not seeds: border, legend, axis."""
LEAP_SHARE = 1 / 6
_HEAT_MAP = "--kind", "seeds", "--heatmap"


class SeedsScreen(OneMetricScreen):
    """Shows a heat map of one metric, seed by task; below it a row per seed, and the epochs of the selected task."""

    NAME = "Each seed"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "setting(1)", "Method", tooltip="Method"),
        Binding("N", "setting(-1)", "Previous method", show=False, tooltip="Method"),
        *METRIC_KEYS,
        *BIN_KEYS,
        Binding("o", "sort", "Order"),
        Binding("O", "reverse", "Reverse the order", show=False),
        Binding("up", "seed(-1)", "Previous seed", show=False, tooltip="Choose a seed"),
        Binding("down", "seed(1)", "Next seed", show=False, tooltip="Choose a seed"),
        Binding("left", "bin(-1)", "Move the cursor: a task's value and epochs", show=False),
        Binding("right", "bin(1)", "Move the cursor: a task's value and epochs", show=False),
        Binding("shift+left", f"leap({-LEAP_SHARE})", "Move the cursor by a larger step", show=False),
        Binding("shift+right", f"leap({LEAP_SHARE})", "Move the cursor by a larger step", show=False),
        Binding("comma", "task(-1)", "Move the cursor by one task", key_display=",", show=False),
        Binding("full_stop", "task(1)", "Move the cursor by one task", key_display=".", show=False),
        Binding("0", "newest", "Newest task, no cursor", show=False),
        Binding("c", "app.open_view('compare')", "Compare with another method", show=False),
        Binding("enter", "turn_over", "Epochs", key_display="enter"),
    ]

    def __init__(self, label: str | None) -> None:
        super().__init__()
        self.label = label
        self.cursor: int | None = None
        """The selected task, counted from 1; None: the latest."""
        self.heat = HeatMap()
        self.table = SeedTable()
        self.epochs = EpochsView()
        self._seeds: Seeds | None = None
        self._shows_epochs = False
        self._remark = Static(id="remark", markup=False)
        self._below = Container(self.table, self.epochs, id="below")

    @classmethod
    def opened(cls, selected: Sequence[RunView], label: str | None) -> "SeedsScreen":
        return cls(label)

    def body(self) -> Sequence[Widget]:
        return self._remark, self.heat, self._below

    @property
    def page(self) -> str:
        if self.label not in self.labels:
            return ""
        return f"{self.label}, {self.labels.index(self.label) + 1} of {len(self.labels)}"

    @property
    def run(self) -> RunView | None:
        """Return the run under the table's cursor."""
        rows = self._seeds.rows if self._seeds else ()
        return next((row.run for row in rows if row.run.seed == self.table.seed), None)

    def needs(self) -> dict[str, Any]:
        if self.label is None and self.labels:
            self.label = self.labels[0]
        run = self.run
        if run is None or not (self._is_wide or self._shows_epochs):
            return {"heat_of": self.label, "epochs_of": None}
        return {"heat_of": self.label, "epochs_of": (run.dir, None if self.cursor is None else self.cursor - 1)}

    def pictured(self, view: View) -> Pictured:
        """Return the heat map of one setting's seeds."""
        return Pictured([view.metric], [self.label] if self.label in self.labels else [], _HEAT_MAP)

    def selected(self) -> Sequence[RunView]:
        return (self.run,) if self.run else ()

    def forget(self) -> None:
        self.label, self.cursor, self._seeds = None, None, None
        self._ask()

    def back(self) -> bool:
        """Undo the last step: the epochs in place of the table, a cursor. Return False if there is neither."""
        if self._shows_epochs and not self._is_wide:
            self.action_turn_over()
        elif self.cursor is not None:
            self.action_newest()
        else:
            return False
        return True

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Epochs beside the table cannot be closed."""
        return not self._is_wide if action == "turn_over" else True

    def show(self, view: View) -> None:
        super().show(view)
        settings = view.request.settings
        order = (settings.sort, settings.descending)
        if view.request.heat_of == self.label:
            self._seeds = view.seeds and in_order(view.seeds, order)
        present = self._seeds is not None and self.label in self.labels
        self._remark.display = not present
        self.heat.display = self._below.display = present
        if self._seeds is None or not present:
            self._remark.update(self._why_nothing(view))
            return
        self._lay_out(len(self._seeds.rows))
        self.table.show(self._seeds, order, self.dashboard.markers == "ascii")
        self._look()
        run = self.run
        if view.epochs and run and view.epochs.run_dir == run.dir:
            self.epochs.show(view.epochs, run, self._seeds.style, view.metric, view.shown)

    def on_resize(self) -> None:
        super().on_resize()
        self.refresh_bindings()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._look()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        column = next((sort for sort in SORTS if sort == event.column_key.value), None)
        if column == self.dashboard.settings.sort:
            self.action_reverse()
        elif column:
            self.dashboard.change(sort=column)

    def on_heat_map_chosen(self, message: HeatMap.Chosen) -> None:
        self.table.select(str(message.seed))
        if message.task is not None:
            self._put_cursor(message.task)
        self._look()

    def on_chart_view_chosen(self, message: ChartView.Chosen) -> None:
        if not self._is_wide:
            self.action_turn_over()

    def action_setting(self, direction: int) -> None:
        if self.labels:
            self.label = after(self.labels, self.label, direction)
            self._ask()
            self.show_status()

    def action_sort(self) -> None:
        self.dashboard.change(sort=after(SORTS, self.dashboard.settings.sort))

    def action_reverse(self) -> None:
        self.dashboard.change(descending=not self.dashboard.settings.descending)

    def action_seed(self, by: int) -> None:
        self.table.move_cursor(row=self.table.cursor_row + by)
        self._look()

    def action_bin(self, by: int) -> None:
        self.action_task(by * self._seeds.heat.bin_size if self._seeds else 0)

    def action_leap(self, share: float) -> None:
        self.action_task(share * self._tasks_done)

    def action_task(self, by: float) -> None:
        start = self._tasks_done if self.cursor is None else self.cursor
        self._put_cursor(start + by)
        self._look()

    def action_newest(self) -> None:
        self.cursor = None
        self._look()

    def action_turn_over(self) -> None:
        self._shows_epochs = not self._shows_epochs
        self._ask()
        if self.dashboard.view:
            self.show(self.dashboard.view)

    @property
    def _is_wide(self) -> bool:
        return self.size.width >= WIDE

    @property
    def _tasks_done(self) -> int:
        """Return the number of tasks of the fastest seed."""
        rows = self._seeds.rows if self._seeds else ()
        return max((row.run.tasks_done for row in rows), default=0)

    def _put_cursor(self, task: float) -> None:
        if self._tasks_done:
            self.cursor = int(np.clip(round(task), 1, self._tasks_done))

    def _look(self) -> None:
        """Show the selection at once; its epochs follow with the next frame."""
        if self._seeds:
            self.heat.show(self._seeds.heat, self.table.seed, self.cursor)
            self._ask()

    def _ask(self) -> None:
        if self.is_current:  # otherwise another view decides the content of frames
            self.dashboard.ask(**self.needs())

    def _lay_out(self, num_seeds: int) -> None:
        """Give each seed of the heat map two rows, one, or half of one: as many as half the screen allows."""
        room = self._below.outer_size.height + self.heat.outer_size.height or self.size.height - 2
        most = min(max(HEAT_EXTRA + 1, room // 2), max(1, room - TABLE_HEIGHT))
        half_rows = not self.app.no_color and self.dashboard.markers != "ascii"
        rows = [2 * num_seeds, num_seeds] + [-(-num_seeds // 2)] * half_rows
        self.heat.styles.height = next((HEAT_EXTRA + n for n in rows if HEAT_EXTRA + n <= most), most)
        self._below.set_class(self._is_wide, "-wide")
        self.table.display = self._is_wide or not self._shows_epochs
        self.epochs.display = self._is_wide or self._shows_epochs

    def _why_nothing(self, view: View) -> str:
        if view.request.heat_of != self.label and self.label in self.labels:
            return ""  # the next frame will contain it
        if not self.labels:
            return "no run matches the filter" if view.num_hidden else "no runs to show"
        hidden = "hidden by the filter" if view.request.settings.query else "gone"
        return f"{self.label} is {hidden}; n shows {self.labels[0]}"


SCREEN = SeedsScreen
