"""How the runs fared: a table for each problem."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from lop_engine.analysis import Group, Summary, group_runs, summarise
from lop_engine.analysis.groups import OneProblem, by_problem
from lop_engine.experiment import seen
from lop_engine.experiment.components import Metric
from lop_engine.runs.views import RunView
from lop_tui.words.formats import mean_with_error, short_value
from lop_tui.words.palette import colours_of

CAPTION = "means over seeds of tenths of the run; last: the last tenth"


def summary_tables(views: Sequence[RunView]) -> Iterator[Table]:
    """For each problem, its headline in the first, best and last tenth of the tasks, a row a setting."""
    problems = by_problem(views)
    for one in problems:
        yield _table(one, is_alone=len(problems) == 1)


def _table(one: OneProblem, is_alone: bool) -> Table:
    groups = group_runs(one.runs)
    colours = colours_of(groups)
    heading = seen.metric(one.headline).heading
    title = heading if is_alone else f"{one.problem.title}: {heading}"
    table = Table(title=title, caption=CAPTION)
    table.add_column("experiment", overflow="fold")
    for name in ("seeds", "tasks", "first", "best", "last", loss_heading(seen.metric(one.headline))):
        table.add_column(name, justify="right")
    for group in groups:
        table.add_row(Text(group.label, style=colours[group.label]), *_cells(group, one.headline))
    return table


def _cells(group: Group, metric: str) -> list[str]:
    summary = summarise(group, metric)
    if summary is None:
        return [str(len(group.runs)), "0", *["-"] * 4]
    scale = summary.metric.scale
    return [
        str(summary.num_seeds),
        str(summary.tasks_done),
        short_value(summary.first, scale),
        short_value(summary.best, scale),
        last_with_error(summary),
        short_value(summary.lost, scale),
    ]


def last_value(group: Group, measure: Metric) -> tuple[str, str]:
    """The final value, ``88.9 ± 1.8``, of one seed without error, and ``n=4/5`` where it lacks seeds; empty before."""
    summary = summarise(group, measure.name)
    if summary is None:
        return "", ""
    num_last, num_all = summary.num_seeds_last, len(group.runs)
    error = summary.last_standard_error if num_last > 1 else None
    return mean_with_error(summary.last, error, measure), "" if num_last == num_all else f"n={num_last}/{num_all}"


def loss_heading(measure: Metric) -> str:
    """What `Summary.lost` is the difference of: the better value comes first where higher is better."""
    return "best - last" if measure.better == "higher" else "last - best"


def last_with_error(summary: Summary) -> str:
    """``88.9 ± 1.8 n=4/5``: the last tenth; no error of one seed, no number where none is missing."""
    return " ".join(last_value(summary.group, summary.metric)).strip()
