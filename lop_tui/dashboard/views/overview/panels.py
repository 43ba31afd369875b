"""Widgets of the first view besides charts: the run table, notices, and the setting under the cursor."""

from collections.abc import Iterable, Sequence

from rich.console import Group as RichGroup
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual import events
from textual.containers import VerticalScroll

from lop_engine.analysis import Group
from lop_engine.analysis.grid import points
from lop_engine.experiment import lookup
from lop_engine.runs.directory import OWN_NUMERICS, versions_of
from lop_engine.runs.logs import clean
from lop_tui.dashboard.drawing.plots import sample
from lop_tui.dashboard.ink import has_colour_samples
from lop_tui.dashboard.model import View
from lop_tui.dashboard.rows import Row
from lop_tui.dashboard.table import describe_states, fit_table
from lop_tui.dashboard.widgets.fitted import FittedTable, FittedText
from lop_tui.words.notices import Notice

Lines = list[tuple[str, str]]
"""Pairs of name and value."""
_MOST_OTHERS = 3


class RunsTable(FittedTable):
    """One row per setting, with its label as the key."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[Row, ...] = ()

    def show(self, rows: Sequence[Row]) -> None:
        """Update the table."""
        self._rows = tuple(rows)
        if self.size.width:
            self._update()

    def on_resize(self, event: events.Resize) -> None:
        self._update()

    def _update(self) -> None:
        width = self.scrollable_content_region.width
        if len(self._rows) >= self.size.height and not self.show_vertical_scrollbar:
            width -= 1  # it is about to be shown
        table = fit_table(self._rows, width, has_colour_samples(self))
        self.fill(table.columns, table.columns, table.rows)


class Notices(FittedText):
    """One line per run with a problem, the worst first; hidden if there are none."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[tuple[Notice, ...], int] = ((), 0)

    def show(self, notices: Sequence[Notice], most: int) -> None:
        """Show up to `most` lines."""
        if self._shown == (tuple(notices), most):
            return
        self._shown = (tuple(notices), most)
        shown = notices if len(notices) <= most else notices[: max(1, most - 1)]
        lines = [Text.assemble((f"{notice.run}  ", "bold"), notice.text) for notice in shown]
        if len(shown) < len(notices) and most > 1:
            lines.append(Text(f"and {len(notices) - len(shown)} more", style="dim"))
        self.update(Text("\n", no_wrap=True, overflow="ellipsis").join(lines))
        self.display = bool(notices)


class SettingPanel(VerticalScroll, can_focus=False):
    """Describes one setting; scrolls with the wheel if it is longer than the screen."""

    def __init__(self) -> None:
        super().__init__(id="setting")
        self._words = FittedText(markup=False)
        self._shown: object = None

    def compose(self) -> Iterable[FittedText]:
        yield self._words

    def show(self, view: View, label: str | None) -> None:
        """Update the panel."""
        row, group = view.row(label), view.group(label)
        shown = (row, _parts(view, row, group)) if row and group else None
        if shown != self._shown or shown is None:
            self._shown = shown
            self._words.update(self._drawn(*shown) if shown else Text("No setting is chosen.", style="dim"))

    def _drawn(self, row: Row, parts: Sequence[tuple[str, Lines]]) -> RenderableType:
        head = sample(row.style, has_colour_samples(self)).append(f" {clean(row.label)}", style="default bold")
        if (title := lookup.method(row.method).title) != row.label:
            head.append(f"\n{clean(title)}", style="default")
        drawn: list[RenderableType] = [head, describe_states(row.states, coloured=not self.app.no_color)]
        for heading, lines in parts:
            table = Table.grid(padding=(0, 2))
            for name, value in lines:
                table.add_row(Text(clean(name), style="dim", no_wrap=True), Text(clean(value)))
            drawn += [Text(), *([Text(heading, style="underline")] if heading else []), table]
        return RichGroup(*drawn)


def _parts(view: View, row: Row, group: Group) -> list[tuple[str, Lines]]:
    """Return headings and the text below each."""
    differences = what_differs(view.groups, group)
    spec = group.example.spec if group.example else {}
    keys = [(key, _word(value)) for key, value in spec.items() if key not in dict(differences)]
    parts = [("", facts(row, group)), ("differs from the others in", differences), ("all else", keys)]
    return [part for part in parts if part[1]]


def facts(row: Row, group: Group) -> Lines:
    """Return a setting's progress, result, code version, place and notes."""
    statuses = [run.status for run in group.runs]
    lines = {
        "tasks": row.tasks,
        row.measure.heading if row.measure.name else "": f"{row.value} {row.value_seeds}".strip(),
        "device": row.device,
        "job": _each(status.job for status in statuses),
        "code": code_version(group),
        "note": _each([*(status.note for status in statuses), *(run.job_note for run in group.runs)]),
    }
    return [(name, value) for name, value in lines.items() if name and value]


def what_differs(groups: Sequence[Group], group: Group) -> Lines:
    """Return the keys in which the settings differ: the value of `group`, and others in parentheses."""
    points_of_groups = points(groups, with_extent=True)
    here = points_of_groups[next(place for place, other in enumerate(groups) if other is group)]
    lines = []
    for key, value in here.items():
        values = dict.fromkeys(_word(point[key]) for point in points_of_groups if key in point)
        others = [one for one in values if one != _word(value)]
        listed = ", ".join([*others[:_MOST_OTHERS], *(["..."] if len(others) > _MOST_OTHERS else [])])
        lines.append((key, f"{_word(value)} ({listed})" if listed else _word(value)))
    return lines


def code_version(group: Group) -> str:
    """Return ``numerics 1, my_redo.py 1a2b3c4d``, or a note if the seeds were trained by different code."""
    versions = {versions_of(run.code): run.code for run in group.runs if run.code}
    if len(versions) > 1:
        return "differs between the seeds"
    code = next(iter(versions.values()), ())
    return ", ".join(f"{'numerics' if name == OWN_NUMERICS else name} {version[:8]}" for name, version in code)


def _each(values: Iterable[str | None]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))


def _word(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
