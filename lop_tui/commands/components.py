"""`lop methods`, `lop problems`, `lop networks` and `lop metrics`: list the components for experiment files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lop_tui.commands.app import app

if TYPE_CHECKING:
    from lop_engine.experiment.components import Component

#: By command: the key in an experiment file that names its components.
KEYS = {"methods": "agent", "problems": "problem", "networks": "network", "metrics": "metrics"}

_WIDTH_IN_PIPES = 160

Name = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Component to describe; by default list all.", show_default=False)
]
JsonList = Annotated[bool, typer.Option("--json", help="Print only JSON: a list of objects.")]
PANEL = "Components"


@app.command(epilog="Example: [b]lop methods cbp[/b]", rich_help_panel=PANEL)
def methods(name: Name = None, as_json: JsonList = False) -> int:
    """List the methods ("agent" in an experiment file), or describe one: keys, bounds, defaults, source."""
    return _show("methods", name, as_json)


@app.command(epilog="Example: [b]lop problems continual_imagenet[/b]", rich_help_panel=PANEL)
def problems(name: Name = None, as_json: JsonList = False) -> int:
    """List the problems, or describe one: keys, bounds, defaults, metrics, source."""
    return _show("problems", name, as_json)


@app.command(epilog="Example: [b]lop networks mlp[/b]", rich_help_panel=PANEL)
def networks(name: Name = None, as_json: JsonList = False) -> int:
    """List the networks, or describe one: keys, bounds, defaults, source."""
    return _show("networks", name, as_json)


@app.command(epilog="Example: [b]lop metrics effective_rank[/b]", rich_help_panel=PANEL)
def metrics(name: Name = None, as_json: JsonList = False) -> int:
    """List the metrics, or describe one: unit, scale, cost, source."""
    return _show("metrics", name, as_json)


def _show(command: str, name: str | None, as_json: bool) -> int:
    """List the components of a kind, or describe one. Raises ConfigError for an unknown name."""
    from lop_engine.experiment.catalogue import as_dict
    from lop_engine.experiment.registry import REGISTRIES
    from lop_tui.words.components import print_page, table_of_components
    from lop_tui.words.console import Console, print_json, say

    registry = REGISTRIES[KEYS[command]]
    problems: list[str] = []
    chosen: Sequence[Component] = [_named(command, name)] if name else registry.all(problems)
    for problem in problems:
        say(Console(stderr=True), f"left out: {problem}", style="red")
    if as_json:
        print_json([as_dict(one) for one in chosen])
        return 0
    console = Console(pipe_width=_WIDTH_IN_PIPES)
    if name:
        print_page(console, chosen[0])
        return 0
    console.print(table_of_components(chosen, console.width))
    say(console, f"lop {command} NAME describes one")
    return 0


def _named(command: str, name: str) -> "Component":
    """Return the component with that name, or from that file."""
    from lop_engine.experiment.component_files import component_of
    from lop_engine.experiment.registry import REGISTRIES, known

    own = component_of(name, KEYS[command], Path.cwd(), f"lop {command}")
    return own or known(REGISTRIES[KEYS[command]], name, f"lop {command}")
