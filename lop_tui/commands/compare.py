"""`lop compare`: compares groups of runs with the first, paired by seed."""

from typing import Annotated

import typer

from lop_engine.errors import UserError
from lop_tui.commands.app import app
from lop_tui.commands.options import (
    CARRY,
    DEFAULT_RUNS_DIRS,
    BinSize,
    By,
    EndedByRule,
    Json,
    RunsDirs,
    SelectSeeds,
    Where,
)


@app.command(
    epilog="Example: [b]lop compare bp/step_size=0.01 cbp --metric test_accuracy[/b]", rich_help_panel="Results"
)
def compare(
    groups: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...",
            help="Experiments or settings (bp/step_size=0.01); each is compared with the first.",
            show_default=False,
        ),
    ],
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to compare; repeatable; by default the problem's headline.")
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, metavar="BINS", help="Add a row for the last BINS bins.", show_default=False)
    ] = None,
    bin_size: BinSize = None,
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    best: Annotated[
        bool,
        typer.Option("--best", help="For a name with several settings, compare the best one, as lop best chooses it."),
    ] = False,
    by: By = "last",
    select_seeds: SelectSeeds = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Json = False,
) -> int:
    """Compare groups of runs with the first group, seed by seed, with intervals and tests."""
    from lop_engine.analysis import compare_to_first, group_runs
    from lop_engine.analysis.comparison import refuse_mixed
    from lop_engine.runs.several import read_together
    from lop_engine.runs.views import place_of
    from lop_tui.commands.groups import groups_named, metrics_named, pick_best
    from lop_tui.words.best import criterion_of, notes_on_selection, seeds_of
    from lop_tui.words.comparison import as_dict, as_markdown, notes_on_runs, nothing_compared, print_tables
    from lop_tui.words.console import Console, print_json, say

    if markdown and as_json:
        raise UserError("compare: --markdown or --json? Choose one")
    chosen: list[str] = []
    select = seeds_of("compare", select_seeds)
    criterion = criterion_of("compare", by)
    pick = pick_best("compare", (metric or [""])[0], select, chosen, criterion) if best else None
    named = groups_named("compare", runs_dirs, groups, where, pick, ended_by_rule)
    metrics = metrics_named("compare", metric or [], named)
    refuse_mixed(named)
    comparisons = [comparison for one in metrics for comparison in compare_to_first(named, one, last, bin_size)]
    if not any(comparison.stretches for comparison in comparisons):
        raise UserError(f"compare: {nothing_compared(comparisons[0])}")
    every = [] if chosen else group_runs(read_together(runs_dirs).runs)
    notes = [*chosen, *notes_on_selection(named, every, select), *notes_on_runs(named)]
    if as_json:
        answer = {
            "runs_dir": place_of(runs_dirs),
            "confidence": 0.95,
            "correction": "holm" if len(named) > 2 else None,
            "comparisons": [as_dict(comparison) for comparison in comparisons],
            "notes": notes,
        }
        print_json(answer)
    elif markdown:
        console = Console()
        for line in as_markdown(comparisons, notes):
            say(console, line)
    else:
        print_tables(comparisons, notes)
    return 0
