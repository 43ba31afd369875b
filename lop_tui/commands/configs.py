"""`lop configs`: lists the experiment files shipped with lop."""

import sys
from typing import Annotated

import typer

from lop_engine.errors import UserError, instead
from lop_tui.commands.app import app


@app.command(epilog="Example: [b]lop configs snp > my.json[/b]", rich_help_panel="Set up")
def configs(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print the file of this experiment.", show_default=False)
    ] = None,
) -> int:
    """List the experiments that come with lop, or print one."""
    from lop_engine.experiment.run import comment, shipped
    from lop_tui.words.console import Console, say

    files = shipped()
    if name is None:
        console = Console()
        width = max(map(len, files))
        for known, path in files.items():
            say(console, f"{known:<{width}}  {comment(path)}")
        say(console, "lop run NAME trains one; lop configs NAME > my.json copies one to change it")
        return 0
    if name not in files:
        raise UserError(f'configs: no experiment "{name}"{instead(name, files)}')
    sys.stdout.write(files[name].read_text())
    return 0
