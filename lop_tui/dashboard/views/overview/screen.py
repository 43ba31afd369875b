"""The first screen: the run table, and a chart of each metric."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widget import Widget

from lop_engine.errors import UserError
from lop_engine.runs.views import RunView
from lop_tui.dashboard.advice import Advice, advice
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.figure import Pictured
from lop_tui.dashboard.model import View
from lop_tui.dashboard.registry import VIEWS
from lop_tui.dashboard.screens import BIN_KEYS, RANGE_KEYS, FrameScreen, Ranged
from lop_tui.dashboard.settings import ORDERS, SMOOTHINGS, X_UNITS, after
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.views.overview.charts import ChartChoice, ChartGrid
from lop_tui.dashboard.views.overview.panels import Notices, RunsTable, SettingPanel
from lop_tui.dashboard.widgets.chart import ChartView
from lop_tui.dashboard.widgets.fitted import FittedText

WIDE = 200
"""From this width on the table may be beside the charts."""
WITH_SETTING = 180
"""From this width on the setting under the cursor is described, unless the user chose otherwise."""
MANY_ROWS = 10
PATIENCE_S = 0.1
PAGES = "Next and previous charts"


class OverviewScreen(Ranged, FrameScreen):
    """Shows the metrics of all methods, with one range and one cursor for all charts."""

    NAME = "Charts"
    KEYS_OF_PARTS = ChartView.BINDINGS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "seeds", "Seeds", tooltip="A line for each seed, or the band"),
        *(Binding(v.key, f"app.open_view('{v.name}')", v.description, tooltip=v.tooltip) for v in VIEWS if v.key),
        Binding("right_square_bracket", "turn(1)", "More", key_display="]", tooltip=PAGES),
        Binding("left_square_bracket", "turn(-1)", "Charts before", key_display="[", show=False, tooltip=PAGES),
        *(Binding(str(n), f"enlarge({n - 1})", "Enlarge a chart", show=False) for n in range(1, 10)),
        Binding("up", "row(-1)", "Previous method", show=False, tooltip="Choose a method"),
        Binding("down", "row(1)", "Next method", show=False, tooltip="Choose a method"),
        *RANGE_KEYS,
        Binding("t", "range", "Type a range", show=False),
        *BIN_KEYS,
        Binding("w", "smoothing", "Smoothing", show=False),
        Binding("x", "x_unit", "X axis: tasks, steps, hours", show=False),
        Binding("r", "published", "Published levels", show=False),
        Binding("i", "setting", "Setting under the cursor", show=False, tooltip="The setting under the cursor"),
        Binding("a", "charts", "Choose charts", show=False, tooltip="Choose and order the charts"),
        Binding("o", "order", "Order of methods", show=False, tooltip="Order of methods: by name, best first"),
        Binding("n", "find", "Find a method", show=False, tooltip="Find a method by a part of its name"),
        Binding("h", "hide", "Hide or show a method", show=False, tooltip="Hide the method, or show it again"),
        Binding("f", "solo", "Only this method", show=False, tooltip="Show only this method and pinned ones, or all"),
        Binding("k", "pin", "Pin a method", show=False, tooltip="Pin the method on top, or unpin it"),
        Binding("H", "show_all", "Show all methods", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        # Kept as attributes, not queried: a frame may come while another screen (help, palette) is on top.
        self.table = RunsTable()
        self.notices = Notices()
        self._advice = FittedText()
        self._advice_box = Container(self._advice, id="advice")
        self.grid = ChartGrid()
        self._offered = (True, False, False, 0)
        """The state behind the footer: charts, more than fit, an enlarged one, one method or two?"""
        self._patience: Timer | None = None
        """Runs out if the frame for a new range does not come."""
        self._setting = SettingPanel()
        self._parts = Container(self.table, self.grid, self._setting, id="parts")
        self._x_unit = ""
        """Unit of the charts shown last."""

    def body(self) -> Sequence[Widget]:
        return (self._parts, self.notices, self._advice_box)

    @property
    def page(self) -> str:
        return self.grid.page if self.grid.display else ""

    @property
    def metric(self) -> str:
        return self.grid.shown_metric

    def pictured(self, view: View) -> Pictured:
        """Return the charts on the page, with the settings that have lines."""
        return Pictured(self.grid.drawn_metrics, [row.label for row in view.rows if row.is_drawn])

    def selected(self) -> Sequence[RunView]:
        view = self.dashboard.view
        group = view.group(self.table.selected) if view else None
        return group.runs if group else ()

    def show(self, view: View) -> None:
        text = advice(view)
        if text:
            self._advice.update(_advice_text(text))
        self._advice_box.display = bool(text)
        self.grid.display = not text
        self._parts.display = bool(view.rows)
        self.table.show(view.rows)
        self.notices.show(view.notices, most=max(1, self.size.height // 12))
        self._show_setting()
        self._keep_range(view)
        if not self._patience or view.request.window == self.viewport.window:
            self._show_charts()
        self._offer()
        super().show(view)

    def _show_setting(self) -> None:
        """Describe the setting under the cursor, if that is switched on and there is room."""
        choice, view = self.dashboard.settings.show_setting, self.dashboard.view
        self._setting.display = (self.size.width >= WITH_SETTING if choice is None else choice) and self.grid.display
        if view:
            self._lay_out(view)
        if view and self._setting.display:
            self._setting.show(view, self.table.selected)

    def on_data_table_row_highlighted(self) -> None:
        self._show_setting()

    def _keep_range(self, view: View) -> None:
        """Reset a range in another unit: an axis in minutes changes to hours as runs continue."""
        unit = view.panels[0].x_unit if view.panels else self._x_unit
        before, self._x_unit = self._x_unit, unit
        if before not in ("", unit) and self.viewport != Viewport():
            self.forget()

    def _lay_out(self, view: View) -> None:
        """Place the table above the charts and the setting right of them; both left of the charts if rows are many."""
        beside = self.size.width >= WIDE and len(view.rows) > MANY_ROWS
        with_table = self.grid.enlarged is None or not self.grid.display
        with_setting = bool(self._setting.display)
        self.table.display = with_table
        half = max(3, self.size.height // (2 if beside else 3))
        height = self.size.height - 4 if beside and not with_setting else min(len(view.rows) + 1, half)
        self.grid.name_lines(height <= len(view.rows))
        left = beside and with_table
        rows = 1 + (with_table and (with_setting or not left) and bool(self.grid.display))
        styles = self._parts.styles
        styles.grid_size_columns = 1 + (left or with_setting)
        styles.grid_size_rows = rows
        styles.grid_columns = "90 1fr" if left else "1fr 46" if self.size.width >= 92 else "1fr 1fr"
        styles.height = "1fr" if self.grid.display else height
        styles.grid_rows = f"{height} 1fr" if rows == 2 else "1fr"
        self.table.styles.column_span = 2 if with_setting and not left else 1
        self.grid.styles.row_span = rows if left else 1

    def on_chart_grid_arranged(self) -> None:
        self.show_status()
        self._offer()

    def _offer(self) -> None:
        """Update the footer if it has changed: that is costly."""
        view = self.dashboard.view
        is_large = self.grid.enlarged is not None
        offered = (self.grid.display, self.grid.has_more, is_large, min(len(view.groups), 2) if view else 0)
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def on_data_table_row_selected(self) -> None:
        """The user clicked on the row that is already selected."""
        self.dashboard.open_view("seeds")

    def on_chart_view_chosen(self, message: ChartView.Chosen) -> None:
        self.action_enlarge(message.place)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable keys that would do nothing now."""
        if not self.grid.display and action in _OF_CHARTS:
            return False
        if action == "published":  # of a problem that has some
            view = self.dashboard.view
            return bool(view and view.shown.problem.claims)
        return self.grid.has_more if action == "turn" else True

    def forget(self) -> None:
        self.move(Viewport())

    def back(self) -> bool:
        """Undo the last step: an enlarged chart, a range, a cursor. Return False if there was none."""
        if self.grid.enlarged is not None:
            self.action_enlarge(self.grid.enlarged)
        elif self.viewport != Viewport():
            self.action_whole()
        else:
            return False
        return True

    def action_turn(self, direction: int) -> None:
        self.grid.turn(direction)

    def action_enlarge(self, place: int) -> None:
        self.grid.enlarge(place)
        if self.dashboard.view:
            self.show(self.dashboard.view)

    def action_row(self, by: int) -> None:
        self.table.move_cursor(row=self.table.cursor_row + by)

    def action_seeds(self) -> None:
        self.dashboard.change(show_seeds=not self.dashboard.settings.show_seeds)

    def action_range(self) -> None:
        view = self.dashboard.view
        unit = view.panels[0].x_unit if view and view.panels else "tasks"
        window = self.viewport.window
        value = f"{window[0]:g}-{window[1]:g}" if window else ""
        self.prompt.ask(
            f"{unit}, from-to:", value, self._look_at_range, placeholder="100-500, or 100-, or nothing for all"
        )

    def action_smoothing(self) -> None:
        self.dashboard.change(smoothing=after(SMOOTHINGS, self.dashboard.settings.smoothing))
        chosen = self.dashboard.settings.smoothing
        self.notify(f"running mean over {chosen} bins" if chosen > 1 else "no smoothing", timeout=2)

    def action_x_unit(self) -> None:
        self.move(Viewport())
        self.dashboard.change(x_unit=after(X_UNITS, self.dashboard.settings.x_unit))

    def action_published(self) -> None:
        self.dashboard.change(show_published=not self.dashboard.settings.show_published)
        shown = "shown" if self.dashboard.settings.show_published else "hidden"
        self.notify(f"published levels {shown} (where the protocol is the paper's)", timeout=2)

    def action_setting(self) -> None:
        self.dashboard.change(show_setting=not self._setting.display)
        self._show_setting()

    def action_charts(self) -> None:
        if view := self.dashboard.view:
            chosen = [chart.measure.name for chart in view.panels]
            others = [name for name in view.shown.recorded if name not in chosen]
            self.app.push_screen(ChartChoice([*chosen, *others], chosen, self._choose_charts))

    def _choose_charts(self, names: tuple[str, ...] | None) -> None:
        settings, view = self.dashboard.settings, self.dashboard.view
        if view:
            problem = view.shown.problem.name
            others = tuple(one for one in settings.charts if one[0] != problem)
            self.dashboard.change(charts=others if names is None else (*others, (problem, names)))

    def action_order(self) -> None:
        self.dashboard.change(order=after(ORDERS, self.dashboard.settings.order))
        chosen = self.dashboard.settings.order
        self.notify("by name" if chosen == "name" else "best first", timeout=2)

    def action_find(self) -> None:
        self.prompt.ask("method:", "", self._find, "a part of its name")

    def _find(self, text: str) -> None:
        labels = [row.label for row in self.dashboard.view.rows] if self.dashboard.view else []
        label_to_select = next((label for label in labels if text.strip().casefold() in label.casefold()), None)
        if label_to_select is None:
            raise UserError(f"no method is called {text.strip()}")
        if text.strip():
            self.table.select(label_to_select)

    def action_hide(self) -> None:
        if label := self.table.selected:
            self.dashboard.change(hidden=_without_or_with(self.dashboard.settings.hidden, label), solo=None)

    def action_solo(self) -> None:
        if label := self.table.selected:
            self.dashboard.change(solo=None if self.dashboard.settings.solo == label else label)

    def action_pin(self) -> None:
        if label := self.table.selected:
            self.dashboard.change(pinned=_without_or_with(self.dashboard.settings.pinned, label))

    def action_show_all(self) -> None:
        self.dashboard.change(hidden=(), solo=None)

    @property
    def whole(self) -> Axis | None:
        view = self.dashboard.view
        return view.panels[0].x if view and view.panels else None

    def look(self) -> None:
        """Move the cursor at once; for another range, wait briefly for the frame with matching bins."""
        window = self.viewport.window
        if window == self.dashboard.wants.window:
            self._show_charts()
            return
        self.dashboard.ask(window=window)
        if not self._patience:
            self._patience = self.set_timer(PATIENCE_S, self._show_charts)

    def _show_charts(self) -> None:
        if self._patience:
            self._patience.stop()
            self._patience = None
        if self.dashboard.view:
            self.grid.show(self.dashboard.view, self.viewport)

    def _look_at_range(self, text: str) -> None:
        if whole := self.whole:
            self.move(Viewport(parse_range(text, whole), self.viewport.cursor))


_OF_CHARTS = frozenset({"turn", "enlarge", "seeds", "cursor", "zoom", "pan", "whole", "range", "log", "charts"})


def _without_or_with(labels: tuple[str, ...], label: str) -> tuple[str, ...]:
    """Return `labels` without `label` if it contains it, else with it."""
    return tuple(one for one in labels if one != label) if label in labels else (*labels, label)


def parse_range(text: str, whole: Axis) -> tuple[float, float] | None:
    """Parse ``100-500``, ``100-``, ``-500`` within `whole`; None for no text. Raises UserError."""
    if not text.strip():
        return None
    first, dash, last = text.replace(" ", "").partition("-")
    try:
        low, high = float(first or whole.low), float(last or whole.high)
    except ValueError:
        dash, low, high = "", 0.0, 0.0
    if not dash:
        raise UserError("a range reads 100-500, 100- or -500")
    low, high = max(low, whole.low), min(high, whole.high)
    if not low < high:
        raise UserError(f"no data in {text.strip()}: the data go from {whole.low:g} to {whole.high:g}")
    return low, high


def _advice_text(text: Advice) -> Text:
    what, commands, remark = text
    lines = [Text(what), *(Text(f"    {command}", style="bold") for command in commands), Text(remark)]
    return Text("\n\n").join(line for line in lines if line)


SCREEN = OverviewScreen
