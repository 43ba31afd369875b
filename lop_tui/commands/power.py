"""`lop power`: how many seeds a difference needs, and what the seeds so far can detect."""

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


@app.command(epilog="Example: [b]lop power cbp l2 --difference 1[/b]", rich_help_panel="Results")
def power(
    groups: Annotated[
        list[str],
        typer.Argument(
            metavar="A B", help="Two experiments or settings; a sweep means its best setting.", show_default=False
        ),
    ],
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    metric: Annotated[str, typer.Option(help="Metric to compare; by default the problem's headline.")] = "",
    difference: Annotated[
        float | None,
        typer.Option(
            metavar="D",
            help="Difference to detect, in percentage points for a share; by default the observed one.",
            show_default=False,
        ),
    ] = None,
    power: Annotated[
        float, typer.Option(metavar="P", help="Power of the test: the probability of detecting the difference.")
    ] = 0.8,
    by: By = "last",
    select_seeds: SelectSeeds = "",
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    form: Format = "",
    output: TableFile = None,
    as_json: Json = False,
) -> int:
    """Print how many seeds are needed to detect a difference, and which difference the current seeds can detect."""
    from lop_engine.analysis import compare_to_first
    from lop_engine.analysis.comparison import refuse_mixed
    from lop_engine.runs.views import place_of
    from lop_tui.commands.groups import groups_named, metrics_named, pick_best
    from lop_tui.words.best import criterion_of, seeds_of
    from lop_tui.words.comparison import nothing_compared
    from lop_tui.words.power import sheet_of_plans
    from lop_tui.words.sheets import check_format, put_out

    form = check_format("power", form, output, as_json)
    if not 0.05 < power < 1:
        raise UserError(f"power: --power {power:g}: should lie between 0.05 and 1, such as 0.8")
    if difference is not None and not 0 < abs(difference) < float("inf"):
        raise UserError(f"power: --difference {difference:g}: should be a number other than 0")
    if len(groups) != 2:
        raise UserError("power: name two experiments or settings: lop power bp cbp")
    notes: list[str] = []
    pick = pick_best("power", metric, seeds_of("power", select_seeds), notes, criterion_of("power", by))
    named = groups_named("power", runs_dirs, groups, where, pick, ended_by_rule)
    refuse_mixed(named)
    compared = metrics_named("power", [metric] if metric else [], named)[0]
    (comparison,) = compare_to_first(named, compared)
    if not comparison.stretches:
        raise UserError(f"power: {nothing_compared(comparison)}")
    if len(comparison.pairs) < 2:
        raise UserError(f"power: {named[0].label} and {named[1].label} have one pair of seeds; two are needed at least")
    put_out(sheet_of_plans(comparison, named, place_of(runs_dirs), difference, power, notes), form, output)
    return 0
