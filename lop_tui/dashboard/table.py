"""The run table as text cells, fitted to a width: full words if there is room, else short ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from lop_engine.experiment.components import Metric
from lop_engine.runs.logs import clean
from lop_engine.runs.records import State
from lop_tui.dashboard.drawing.plots import sample
from lop_tui.dashboard.rows import Row
from lop_tui.words.formats import distinct, duration, rate, shortened

#: Readable on the dark and the light theme.
STATE_COLOURS: dict[State, str] = {
    "failed": "#d6453d",
    "lost": "#d6453d",
    "diverged": "#b3588d",
    "ended-by-rule": "#b3588d",
    "stopped": "#a36f00",
    "running": "",
    "queued": "#7d7d7d",
    "finished": "#2c8a56",
}
_SHORT: dict[State, str] = {
    "failed": "fail",
    "lost": "lost",
    "diverged": "div",
    "ended-by-rule": "rule",
    "stopped": "stop",
    "running": "run",
    "queued": "wait",
    "finished": "done",
}
_MOST_BAR_WIDTH = 40
_FIXED_COLUMNS = ("method", "experiment", "seeds", "progress", "tasks", "rate", "ETA", "device")
#: (full label, full states), from the widest form to the narrowest.
_FORMS = ((True, True), (True, False), (False, False))
#: Columns to drop first if the narrowest form is too wide. The number of seeds in a mean is always shown.
_EXPENDABLE = ("device", "progress", "rate", "method", "tasks", "ETA")
_MOST_HEADING = 20
"""Most characters in the heading of a metric's column."""


@dataclass(frozen=True)
class Table:
    """Cells by column; each column is as wide as its widest cell."""

    columns: tuple[str, ...]
    rows: dict[str, tuple[Text, ...]]
    """Cells by the row's label."""


def fit_table(rows: Sequence[Row], width: int, coloured: bool = True, gap: int = 2) -> Table:
    """Fit the rows to a screen of `width` characters; each column takes `gap` more than its content.

    The first column is called `method` if every experiment is named after its method; else it names the
    experiments, and methods have a separate column.
    """
    most = max(16, width // 3)
    columns = _columns(rows)
    for form in _FORMS:
        names = _names(rows, form[0], most)
        cells = {row.label: _cells(row, columns[0], names[row.label], form[1], coloured, most) for row in rows}
        if _total(cells, columns, gap) <= width:
            break
        if "device" in columns and _total(cells, columns[:-1], gap) <= width:
            columns.remove("device")
            break
    else:
        for column in _EXPENDABLE:
            if _total(cells, columns, gap) <= width:
                break
            if column in columns[1:]:
                columns.remove(column)
    if "progress" in columns:
        bar_width = min(width - _total(cells, columns, gap) + len("progress"), _MOST_BAR_WIDTH)
        for row in rows:
            cells[row.label]["progress"] = progress_bar(row.progress, bar_width, row.style.colour if coloured else "")
    return Table(tuple(columns), {label: tuple(row[c] for c in columns) for label, row in cells.items()})


def _columns(rows: Sequence[Row]) -> list[str]:
    names = ["method"] if all(row.is_named_after_method for row in rows) else ["experiment", "method"]
    value = [heading(row.measure) for row in rows[:1] if row.measure.name]
    device = ["device"] if any(row.device for row in rows) else []
    return [*names, "seeds", "progress", "tasks", *value, "rate", "ETA", *device]


def heading(measure: Metric) -> str:
    """Return a metric's column heading: ``test acc. %``."""
    title = shortened(measure.title.replace("accuracy", "acc."), _MOST_HEADING)
    return f"{title} {measure.unit}".rstrip() if title not in _FIXED_COLUMNS else f"metric {title}"


def _total(cells: dict[str, dict[str, Text]], columns: Sequence[str], gap: int) -> int:
    return sum(_width(cells, column) + gap for column in columns)


def _width(cells: dict[str, dict[str, Text]], column: str) -> int:
    return max([cell_len(column), *(row[column].cell_len for row in cells.values())])


def _names(rows: Sequence[Row], is_full: bool, most: int) -> dict[str, str]:
    """Return the name of each row by label: distinct names of `most` characters, longer if necessary."""
    labels = {row.label: clean(row.label if is_full else row.short_label) for row in rows}
    short = distinct(labels.values(), most)
    return {row.label: f"{'^' * row.is_pinned}{short[labels[row.label]]}" for row in rows}


def _cells(row: Row, first: str, label: str, full_states: bool, coloured: bool, most: int) -> dict[str, Text]:
    """Return cells by column; `first` is the column of the label."""
    name = sample(row.style, coloured) if row.is_drawn else Text("··" if coloured else "..", style="dim")
    name.append(f" {label}", style="default" if row.is_drawn else "dim")
    return {
        "method": Text(shortened(clean(row.method), most) or "-"),
        first: name,
        "seeds": describe_states(row.states, full_states, coloured),
        "progress": Text(),
        "tasks": Text(row.tasks, justify="right"),
        heading(row.measure): Text(f"{row.value} {row.value_seeds}".strip() or "-"),
        "rate": Text(_or_dash(rate, row.tasks_per_min), justify="right"),
        "ETA": Text(_or_dash(duration, row.eta_s), justify="right"),
        "device": Text(row.device or "-"),
    }


def _or_dash(format_value: Callable[[float], str], value: float | None) -> str:
    return "-" if value is None else format_value(value)


def describe_states(states: Sequence[tuple[State, int]], full: bool = True, coloured: bool = True) -> Text:
    """Return the states as text: ``2 running``, ``1 failed, 3 finished``; short: ``1 run 2 done``."""
    words = _SHORT if not full else {state: state for state in _SHORT}
    separator = ", " if full else " "
    parts = [Text(f"{n} {words[state]}", style=STATE_COLOURS[state] if coloured else "") for state, n in states]
    return Text(separator).join(parts)


def progress_bar(progress: float, width: int, colour: str) -> Text:
    """Return a thin bar whose missing part is faint."""
    done = round(min(max(progress, 0), 1) * width)
    done -= done == width and progress < 1
    if not colour:
        return Text("#" * done + "." * (width - done))
    return Text("━" * done, style=colour).append("─" * (width - done), style="#777777")
