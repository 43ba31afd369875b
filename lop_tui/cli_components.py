"""The components that an experiment file can name: options and help."""

from typing import Annotated

import typer

from lop_tui.cli_options import Commands

app = Commands(rich_markup_mode="rich")

Name = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Describe this one; without it list all.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone: a list of objects.")]
PANEL = "Components"


@app.command(epilog="Example: [b]lop methods cbp[/b]", rich_help_panel=PANEL)
def methods(name: Name = None, as_json: Json = False) -> None:
    """List the methods ("agent" in an experiment file), or describe one: keys, bounds, defaults, source."""
    _show("methods", name, as_json)


@app.command(epilog="Example: [b]lop problems continual_imagenet[/b]", rich_help_panel=PANEL)
def problems(name: Name = None, as_json: Json = False) -> None:
    """List the problems, or describe one: keys, bounds, defaults, metrics, source."""
    _show("problems", name, as_json)


@app.command(epilog="Example: [b]lop networks mlp[/b]", rich_help_panel=PANEL)
def networks(name: Name = None, as_json: Json = False) -> None:
    """List the networks, or describe one: keys, bounds, defaults, source."""
    _show("networks", name, as_json)


@app.command(epilog="Example: [b]lop metrics effective_rank[/b]", rich_help_panel=PANEL)
def metrics(name: Name = None, as_json: Json = False) -> None:
    """List the metrics, or describe one: unit, scale, cost, source."""
    _show("metrics", name, as_json)


@app.command(epilog="Example: [b]lop new method my_method[/b]", rich_help_panel=PANEL)
def new(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="method, problem, network or metric.", show_default=False)
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the component and its file.", show_default=False)],
) -> None:
    """Write a component of your own to begin with: NAME.py, its test, and an experiment file that uses it."""
    from lop_tui.commands.new import write_new

    raise typer.Exit(write_new(kind, name))


def _show(command: str, name: str | None, as_json: bool) -> None:
    from lop_tui.commands.components import show_components

    raise typer.Exit(show_components(command, name, as_json))
