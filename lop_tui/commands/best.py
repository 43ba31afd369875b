"""`lop best`: the best setting of each method of a sweep, chosen on some seeds and reported on the others."""

from typing import Annotated

import typer

from lop_engine.errors import UserError
from lop_tui.commands.app import app
from lop_tui.commands.options import (
    CARRY,
    DEFAULT_RUNS_DIRS,
    By,
    EndedByRule,
    Format,
    Json,
    RunsDirs,
    SelectSeeds,
    TableFile,
    Where,
)


@app.command(epilog="Example: [b]lop best --runs-dir runs/demo --select-seeds 0-4[/b]", rich_help_panel="Results")
def best(
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    metric: Annotated[str, typer.Option(help="Metric to choose by; by default the problem's headline.")] = "",
    by: By = "last",
    lowest: Annotated[
        bool, typer.Option("--lowest", help="Choose the lowest value; by default the metric decides.")
    ] = False,
    select_seeds: SelectSeeds = "",
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    form: Format = "",
    output: TableFile = None,
    as_json: Json = False,
) -> int:
    """Choose each method's best setting on some seeds, and report its mean on the others."""
    from lop_engine.analysis import group_runs
    from lop_engine.analysis.choice import choose, families
    from lop_engine.analysis.comparison import refuse_mixed
    from lop_engine.analysis.groups import by_problem
    from lop_engine.runs.views import place_of
    from lop_tui.commands.reading import read_runs
    from lop_tui.words.best import checked_metric, criterion_of, not_chosen, seeds_of, sheet_of_choices
    from lop_tui.words.comparison import notes_on_runs
    from lop_tui.words.sheets import check_format, put_out

    form = check_format("best", form, output, as_json)
    criterion, select = criterion_of("best", by), seeds_of("best", select_seeds)
    runs, _ = read_runs("best", runs_dirs, where, ended_by_rule)
    groups = group_runs(runs)
    refuse_mixed(groups)
    of_problems = [
        (checked_metric("best", metric, one.headline, runs), group_runs(one.runs)) for one in by_problem(runs)
    ]
    choices, notes = [], []
    for judged_by, members in of_problems:
        for family in families(members):
            choice = choose(family, judged_by, criterion, select, "lower" if lowest else None)
            if choice:
                choices.append(choice)
            else:
                notes.append(not_chosen(family, judged_by, select))
    if not choices:
        raise UserError(f"best: {notes[0]}")
    put_out(
        sheet_of_choices(choices, [*notes, *notes_on_runs(groups)], place_of(runs_dirs), criterion, lowest),
        form,
        output,
    )
    return 0
