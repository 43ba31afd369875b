"""`lop report`: writes a runs directory as one HTML page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lop_engine.errors import UserError, instead
from lop_tui.commands.app import app
from lop_tui.commands.options import CARRY, DEFAULT_RUNS_DIRS, EndedByRule, RunsDirs, SelectSeeds, Where, output

if TYPE_CHECKING:
    from lop_engine.analysis import Group

_USUAL_BASELINE = "bp"


@app.command(epilog="Example: [b]lop report --runs-dir runs/demo -o report.html[/b]", rich_help_panel="Results")
def report(
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    page: Annotated[
        Path | None, output("By default report.html beside the runs; a file of that name is replaced.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.", show_default=False)] = "",
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    baseline: Annotated[
        str, typer.Option(metavar="METHOD", help="Method to compare the others with; by default bp if present.")
    ] = "",
    select_seeds: SelectSeeds = "",
) -> int:
    """Write one web page with the configuration, figures and comparisons of runs, and how to repeat them."""
    from lop_engine.analysis import group_runs
    from lop_engine.analysis.choice import own_selections
    from lop_engine.analysis.comparison import refuse_mixed
    from lop_engine.analysis.groups import one_problem
    from lop_engine.files import writing
    from lop_tui.commands.reading import read_runs
    from lop_tui.words.best import seeds_of
    from lop_tui.words.console import Console, say
    from lop_tui.words.palette import colours_of

    path = page or runs_dirs[0] / "report.html"
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"report: {path}: a report is a web page; call it {path.stem or 'report'}.html")
    chosen, runs = read_runs("report", runs_dirs, where, ended_by_rule)
    shown = one_problem(chosen)
    groups = group_runs(shown.runs)
    refuse_mixed(groups)
    compared_with = _baseline(groups, baseline)
    colours = colours_of(group_runs(runs))  # the same colours with and without a filter

    from lop_tui.report.contents import page_of  # importing matplotlib takes long
    from lop_tui.report.page import as_html

    select = seeds_of("report", select_seeds)
    chosen_on = own_selections(groups, group_runs(runs), shown.headline, select) if shown.headline else []
    html = as_html(page_of(runs_dirs, shown, compared_with, title, colours, chosen_on))
    with writing(path) as file:
        file.write(html.encode())
    console = Console()
    if shown.note:
        say(console, shown.note)
    say(console, f"report: {path}")
    return 0


def _baseline(groups: "list[Group]", name: str) -> "Group":
    """Return the named group: a label, experiment/setting or method; by default backprop, else the first group."""
    by_name = {group.method: group for group in reversed(groups)}
    by_name |= {f"{group.experiment}/{group.setting}": group for group in groups}
    by_name |= {group.label: group for group in groups}
    if not name:
        return by_name.get(_USUAL_BASELINE, groups[0])
    if name not in by_name:
        labels = [group.label for group in groups]
        raise UserError(f'report: --baseline "{name}"{instead(name, labels)}')
    return by_name[name]
