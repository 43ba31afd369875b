"""`lop diff`: the keys of the configuration in which settings differ."""

from typing import Annotated

import typer

from lop_engine.errors import UserError
from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIRS, Format, Json, RunsDirs, TableFile, Where


@app.command(epilog="Example: [b]lop diff bp cbp[/b]", rich_help_panel="Look")
def diff(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A B...]", help="Experiments or settings; all by default."),
    ] = None,
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    where: Where = "",
    form: Format = "",
    output: TableFile = None,
    as_json: Json = False,
) -> int:
    """Show the configuration keys in which settings differ."""
    from lop_engine.analysis import group_runs
    from lop_engine.analysis.comparison import refuse_mixed
    from lop_engine.runs.several import snapshot_of
    from lop_engine.runs.views import place_of
    from lop_tui.commands.reading import read_runs, select_runs
    from lop_tui.words.console import plural
    from lop_tui.words.keys import sheet_of_keys
    from lop_tui.words.sheets import check_format, put_out

    form = check_format("diff", form, output, as_json)
    chosen, _ = read_runs("diff", runs_dirs, where)
    named = select_runs(snapshot_of(runs_dirs, chosen), settings or []).runs
    groups = [group for group in group_runs(named) if group.example and group.example.spec]
    refuse_mixed(groups)
    if len(groups) < 2:
        raise UserError(f"diff: {plural(len(groups), 'setting')} to compare; name two or more: lop diff bp cbp")
    put_out(sheet_of_keys(groups, place_of(runs_dirs)), form, output)
    return 0
