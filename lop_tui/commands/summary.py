"""How the runs fared, in one table."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from lop_engine.analysis import Summary, group_runs, summarise
from lop_engine.runs import RunView
from lop_tui.palette import assign_colours


def summary_table(views: Sequence[RunView]) -> Table:
    """Test accuracy in the first, best and last tenth of the tasks, a row a method and setting."""
    groups = group_runs(views)
    colours = assign_colours([group.label for group in groups])
    table = Table(title="test accuracy, %", caption="means over seeds of tenths of the run")
    table.add_column("method")
    for heading in ("seeds", "tasks", "first", "best", "last", "best - last"):
        table.add_column(heading, justify="right")
    for group in groups:
        summary = summarise(group)
        name = Text(group.label, style=colours[group.label])
        if summary is None:
            table.add_row(name, str(len(group.runs)), "0", "-", "-", "-", "-")
            continue
        table.add_row(
            name,
            str(summary.num_seeds),
            str(summary.tasks_done),
            f"{100 * summary.first:.1f}",
            f"{100 * summary.best:.1f}",
            last_with_error(summary),
            f"{100 * summary.lost:.1f}",
        )
    return table


def last_with_error(summary: Summary) -> str:
    """``88.9 ± 1.8 n=4/5``: percent in the last tenth; no error of one seed, no number where none is missing."""
    num_last, num_all = summary.num_seeds_last, len(summary.group.runs)
    error = f" ± {100 * summary.last_standard_error:.1f}" if num_last > 1 else ""
    return f"{100 * summary.last:.1f}{error}" + ("" if num_last == num_all else f" n={num_last}/{num_all}")
