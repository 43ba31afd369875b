"""`lop table`: methods by tenths, metrics and problems, with intervals and tests, like a paper's table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lop_engine.errors import UserError, instead
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

if TYPE_CHECKING:
    from lop_engine.analysis import Over


@app.command(epilog="Example: [b]lop table --over last --over whole -o table.tex[/b]", rich_help_panel="Results")
def table(
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to show; repeatable; by default the headline of each problem.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASKS",
            help="Columns: first, best, last (tenth) or whole (run); repeatable; all by default.",
            show_default=False,
        ),
    ] = None,
    by: By = "last",
    select_seeds: SelectSeeds = "",
    settings: Annotated[
        bool, typer.Option("--settings", help="A row for each setting, not only for each method's best.")
    ] = False,
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    form: Format = "",
    output: TableFile = None,
    as_json: Json = False,
) -> int:
    """Make a table of methods: mean, 95 % interval and number of seeds; mark the best and those not found worse."""
    from lop_engine.analysis import group_runs
    from lop_engine.analysis.comparison import refuse_mixed
    from lop_engine.analysis.groups import by_problem
    from lop_engine.runs.views import place_of
    from lop_tui.commands.reading import read_runs
    from lop_tui.words.best import checked_metric, criterion_of, seeds_of
    from lop_tui.words.methods import part_of, rows_of, sheet_of_methods
    from lop_tui.words.sheets import check_format, put_out

    form, overs = check_format("table", form, output, as_json), _overs(over or [])
    criterion, select = criterion_of("table", by), seeds_of("table", select_seeds)
    runs, _ = read_runs("table", runs_dirs, where, ended_by_rule)
    refuse_mixed(group_runs(runs))
    named = [checked_metric("table", one, "", runs) for one in dict.fromkeys(metric or [])]
    problems = by_problem(runs)
    metrics = [[one for one in named if one in of.recorded] if named else [of.headline] for of in problems]
    rows = [
        rows_of(group_runs(of.runs), next(iter(shown), None), criterion, select, settings)
        for of, shown in zip(problems, metrics, strict=True)
    ]
    parts = [
        part_of(of, one, tasks, of_problem)
        for of, shown, of_problem in zip(problems, metrics, rows, strict=True)
        for one in shown
        for tasks in overs
    ]
    if not any(entry.value.num_values for part in parts for _, entry in part.entries.values()):
        raise UserError("table: no run has a value to show yet; try again later, or name another --metric")
    put_out(sheet_of_methods(parts, rows, settings, place_of(runs_dirs)), form, output)
    return 0


def _overs(words: Sequence[str]) -> "list[Over]":
    from lop_engine.analysis import OVERS

    overs: list[Over] = []
    for word in dict.fromkeys(one for text in words for one in text.split(",")):
        if word not in OVERS:
            raise UserError(f'table: --over "{word}"{instead(word, OVERS)}')
        overs.append(word)
    return overs or list(OVERS)
