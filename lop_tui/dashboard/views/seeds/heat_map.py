"""The heat map widget: shows which seed fails when."""

import numpy as np
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from lop_engine.experiment import lookup
from lop_tui.dashboard.drawing.chart import Heat
from lop_tui.dashboard.drawing.heatmap import draw_heat, heat_area
from lop_tui.dashboard.ink import ink_of
from lop_tui.words.formats import short_value, span


class HeatMap(Widget):
    """Draws again only if the heat map, its size, the selection, the theme or the markers have changed."""

    class Chosen(Message):
        """The user clicked on a seed at a task (counted from 1), or on its name."""

        def __init__(self, seed: int, task: float | None) -> None:
            super().__init__()
            self.seed = seed
            self.task = task

    def __init__(self) -> None:
        super().__init__()
        self.num_drawn = 0
        self._heat: Heat | None = None
        self._seed: int | None = None
        self._cursor: float | None = None
        self._drawn: Text | None = None
        self._drawn_for: tuple[object, ...] = ()

    def show(self, heat: Heat, seed: int | None, cursor: float | None) -> None:
        """Show `heat` with a row marked, and a task if there is a cursor."""
        if self._heat is not None and same_heat(heat, self._heat) and (seed, cursor) == (self._seed, self._cursor):
            return
        self._heat, self._seed, self._cursor = heat, seed, cursor
        self._drawn = None
        self.border_title = Text(f"{heat.label}: seed by {heat.x_unit.removesuffix('s')}")
        self.border_subtitle = Text(reading(heat, seed, cursor))
        self.refresh()

    def render(self) -> Text:
        width, height = self.content_size
        if self._heat is None:
            return Text()
        if not self._heat.values.size:
            bin_size = self._heat.bin_size
            empty = f"no bin of {bin_size} tasks is full yet" if bin_size > 1 else "no task is finished yet"
            return Text(empty, style="italic")
        now = (width, height, ink := ink_of(self))
        shown = heat_area(self._heat, width, height, ink, self._seed).seeds
        if 0 < len(shown) < len(self._heat.seeds):
            number, by = f"{len(shown)} of {len(self._heat.seeds)} seeds", self._heat.x_unit.removesuffix("s")
            self.border_title = Text(f"{self._heat.label}: {number} by {by}")
        if self._drawn is None or now != self._drawn_for:
            self._drawn = draw_heat(self._heat, width, height, ink, selected=self._seed, cursor=self._cursor)
            self._drawn_for = now
            self.num_drawn += 1
        return self._drawn

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or self._heat is None or not self._heat.values.size:
            return
        where = heat_area(self._heat, *self.content_size, ink_of(self), self._seed)
        seed, beside = where.seed_at(offset.y), offset.x < where.area.left
        if seed is not None:
            task = None if beside else where.area.x_at(offset.x, (0, self._heat.num_tasks))
            self.post_message(self.Chosen(seed, task))


def same_heat(one: Heat, other: Heat) -> bool:
    """Whether two heat maps look the same."""
    names = ("measure", "label", "seeds", "bin_size", "num_tasks", "x_unit", "x_per_task")
    alike = all(getattr(one, name) == getattr(other, name) for name in names)
    return alike and np.array_equal(one.values, other.values, equal_nan=True)


def reading(heat: Heat, seed: int | None, cursor: float | None) -> str:
    """Return the value of a seed in the bin at the cursor's task: ``seed 7, tasks 51-100: 84.3``."""
    if seed not in heat.seeds or cursor is None:
        return "" if seed is None else f"seed {seed}"
    column = int(cursor - 1) // heat.bin_size
    first, last = column * heat.bin_size + 1, min((column + 1) * heat.bin_size, heat.num_tasks)
    where = span(first, last, heat.x_unit, heat.x_per_task)
    value = heat.values[heat.seeds.index(seed), column] if column < heat.values.shape[1] else np.nan
    shown = "-" if np.isnan(value) else short_value(float(value), lookup.metric(heat.measure.name).scale)
    return f"seed {seed}, {where}: {shown}"
