"""`lop merge`: copies runs of several directories into one."""

from pathlib import Path
from typing import Annotated

import typer

from lop_engine.errors import UserError
from lop_tui.commands.app import app
from lop_tui.commands.options import output


@app.command(epilog="Example: [b]lop merge laptop/runs cluster/runs --to runs[/b]", rich_help_panel="Results")
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="A B...", help="Directories of runs.", show_default=False)],
    target: Annotated[Path, output("Directory to copy them to; it may contain runs.", "--to", metavar="DIR")],
) -> int:
    """Copy the runs of several directories into one; duplicate seeds and differing configurations are refused."""
    from lop_engine.exchange.merging import merge_runs
    from lop_engine.runs.reading import RunsReader
    from lop_tui.words.console import Console, in_runs_dir, plural, say
    from lop_tui.words.notices import flag_lines

    if not sources:
        raise UserError("merge: name the directories whose runs are to be copied: lop merge A B --to C")
    made = set(merge_runs(sources, target))
    console = Console()
    say(console, f"{plural(len(made), 'run')} of {', '.join(map(str, sources))} copied to {target}")
    for line in flag_lines([run for run in RunsReader(target).read().runs if run.dir in made]):
        say(console, line)
    say(console, f"see them: lop list{in_runs_dir(target)}")
    return 0
