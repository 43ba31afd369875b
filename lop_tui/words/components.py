"""The list of components for experiment files, and a page on one (`lop methods`)."""

from collections.abc import Sequence
from textwrap import indent

from rich.table import Table

from lop_engine.experiment.catalogue import Key, bibtex, citation, file_of, keys_of, reference
from lop_engine.experiment.components import Component, Method, Metric, Problem
from lop_engine.experiment.fields import Fields
from lop_engine.experiment.parts import Experiment
from lop_engine.experiment.registry import OPTIMIZERS, REGISTRIES
from lop_tui.words.console import Console, say

_WIDTH_OF_ALL = 120
_INDENT = 11


def table_of_components(chosen: Sequence[Component], width: int) -> Table:
    """Return a table with a row per component; without titles and keys if it is narrow."""
    headings = ["name", "title", "what it is", "keys", "source"]
    if width < _WIDTH_OF_ALL:
        headings = ["name", "what it is", "source"]
    elif not any(one.fields.model_fields for one in chosen):
        headings.remove("keys")
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for one in chosen:
        cells = {
            "name": one.name,
            "title": one.title,
            "what it is": one.sentence,
            "keys": ", ".join(one.fields.model_fields),
            "source": citation(one.source),
        }
        table.add_row(*(cells[heading] for heading in headings))
    return table


def print_page(console: Console, one: Component) -> None:
    """Print a page on one component: keys with bounds and defaults, facts, source."""
    say(console, f"{one.name}: {one.title}")
    if one.sentence:
        console.print(one.sentence)
    if isinstance(one, Method) and one.equation:
        say(console, f"\n{indent(one.equation, '    ')}")
    _print_keys(console, "keys", keys_of(one.fields))
    if isinstance(one, Method):
        keys = [key for key in keys_of(Experiment) if key.name in ("step_size", "weight_decay")]
        _print_keys(console, "keys of all methods", keys)
        if not one.has_own_update:
            for fields, names in _optimizers_by_fields().items():
                _print_keys(console, f"keys with opt {' or '.join(names)}", keys_of(fields))
    say(console, "")
    for heading, text in _facts(one).items():
        if text:
            say(console, f"{heading:<{_INDENT}}{text}")
    if entry := bibtex(one.source):
        say(console, f"\n{entry}")


def _optimizers_by_fields() -> dict[type[Fields], list[str]]:
    by_fields: dict[type[Fields], list[str]] = {}
    for optimizer in OPTIMIZERS.values():
        by_fields.setdefault(optimizer.fields, []).append(optimizer.name)
    return by_fields


def _print_keys(console: Console, heading: str, keys: Sequence[Key]) -> None:
    if not keys:
        return
    table = Table(box=None, pad_edge=False)
    for title in (heading, "default", "takes", "what it is"):
        table.add_column(title, overflow="fold", no_wrap=title == heading)
    for key in keys:
        table.add_row(key.name, key.by_default, key.takes, key.help)
    say(console, "")
    console.print(table)


def _facts(one: Component) -> dict[str, str]:
    facts = {
        "needs": ", ".join(sorted(one.needs)),
        "provides": ", ".join(sorted(one.provides)),
    }
    if isinstance(one, Problem):
        facts |= {"headline": one.headline, "network": one.network, "metrics": ", ".join(one.metrics)}
    if isinstance(one, Method):
        facts |= {
            "network": one.network,
            "update": "its own, so opt does not apply" if one.has_own_update else "",
        }
    if isinstance(one, Metric):
        problems = [problem.name for problem in REGISTRIES["problem"].values() if one.name in problem.metrics]
        facts |= {
            "unit": one.unit,
            "scale": one.scale,
            "default": f"recorded by default on {' and '.join(problems)}" if problems else "",
            "cost": f"{one.cost_in_epochs:g} training epochs" if one.cost_in_epochs else "",
        }
    return facts | {"source": reference(one.source), "code": file_of(one) or one.code}
