"""`lop report`: a runs directory as one HTML page."""

from dataclasses import dataclass
from pathlib import Path

from lop_engine.analysis import Group, group_runs
from lop_engine.analysis.choice import own_selections
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.groups import one_problem
from lop_engine.errors import UserError, did_you_mean
from lop_tui.commands.console import Console, say
from lop_tui.commands.reading import read_runs
from lop_tui.commands.selection_words import seeds_of
from lop_tui.output import writing
from lop_tui.palette import colours_of

_USUAL_BASELINE = "bp"


@dataclass(frozen=True)
class Request:
    """What a person asked for."""

    runs_dir: Path
    output: Path | None
    title: str
    where: str
    baseline: str
    select_seeds: str


def report_runs(request: Request) -> int:
    """Write the page and say where it is; return 0. Raises UserError."""
    path = request.output or request.runs_dir / "report.html"
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"report: {path}: a report is a web page; call it {path.stem or 'report'}.html")
    chosen, runs = read_runs("report", request.runs_dir, request.where)
    shown = one_problem(chosen)
    groups = group_runs(shown.runs)
    refuse_mixed(groups)
    baseline = _baseline(groups, request.baseline)
    colours = colours_of(group_runs(runs))  # the same with and without a filter

    from lop_tui.report.contents import page_of  # matplotlib takes its time
    from lop_tui.report.page import as_html

    select = seeds_of("report", request.select_seeds)
    chosen_on = own_selections(groups, group_runs(runs), shown.headline, select) if shown.headline else []
    html = as_html(page_of(request.runs_dir, shown, baseline, request.title, colours, chosen_on))
    with writing(path) as file:
        file.write(html.encode())
    console = Console()
    if shown.note:
        say(console, shown.note)
    say(console, f"report: {path}")
    return 0


def _baseline(groups: list[Group], name: str) -> Group:
    """The group of that name: a label, experiment/setting or method; by default backprop, or else the first group."""
    by_name = {group.method: group for group in reversed(groups)}
    by_name |= {f"{group.experiment}/{group.setting}": group for group in groups}
    by_name |= {group.label: group for group in groups}
    if not name:
        return by_name.get(_USUAL_BASELINE, groups[0])
    if name not in by_name:
        labels = [group.label for group in groups]
        raise UserError(f'report: --baseline "{name}"{did_you_mean(name, labels)}: choose one of {", ".join(labels)}')
    return by_name[name]
