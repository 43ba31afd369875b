"""Global keys, and descriptions of all keys. The keys of a view are in its `screen` module.

A binding's description is short, for the footer and the palette; its tooltip, if it has one, is shown in the help,
where keys with the same tooltip share a row.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen

PROBLEM_KEY = "v"
"""The line of problem tabs shows this key too."""

EVERYWHERE: list[BindingType] = [
    Binding("q", "quit", "Quit"),
    Binding("space", "pause", "Pause", show=False),
    Binding("slash", "filter", "Filter", key_display="/", priority=True),  # before the keys that follow it
    Binding(PROBLEM_KEY, "problem", "Next problem", show=False, tooltip="Runs of the next problem"),
    Binding("l", "open_view('log')", "Log of the run's worker", show=False),
    Binding("S", "stop", "Stop runs", show=False, tooltip="Stop the runs under the cursor, after asking"),
    Binding("R", "resume", "Resume runs", show=False, tooltip="Resume or retry these runs, after asking"),
    Binding("p", "plot", "Figure to a file (lop plot)", show=False),
    Binding("P", "picture", "Screenshot to a file (SVG)", show=False),
    Binding("y", "replay", "Replay from the first task", show=False),
    Binding(
        "greater_than_sign", "speed(2)", "Replay faster", key_display=">", show=False, tooltip="Speed of the replay"
    ),
    Binding(
        "less_than_sign", "speed(0.5)", "Replay slower", key_display="<", show=False, tooltip="Speed of the replay"
    ),
    Binding("m", "markers", "Braille, blocks or ASCII", show=False),
    Binding("d", "dark", "Dark or light", show=False),
    Binding("ctrl+z", "suspend_process", "To the shell", show=False, tooltip="Suspend to the shell; fg returns"),
    Binding("ctrl+p", "command_palette", "All commands, themes", show=False),
    Binding("question_mark", "help", "Help", key_display="?"),
]


#: Actions that change runs, write files or open a shell; a read-only dashboard disables them.
WRITING = frozenset({"stop", "resume", "plot", "picture", "suspend_process"})


def describe_keys(bindings: Iterable[BindingType], display: Callable[[Binding], str]) -> dict[str, str]:
    """Return the descriptions of bindings by key: ``{"+ -": "Zoom (wheel)", "1-9": "Enlarge a chart"}``."""
    keys: dict[str, list[str]] = {}
    for binding in Binding.make_bindings(bindings):
        shown = keys.setdefault(binding.tooltip or binding.description, [])
        shown += [key for key in [display(binding)] if key not in shown]
    return {_together(shown): text for text, shown in keys.items()}


def worth_a_command(screen: Screen[Any]) -> Iterator[tuple[DOMNode, Binding]]:
    """Return the bindings to list in the palette: not those that move a cursor, nor the palette's own."""
    known = {"Move focus", ""}
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.description in known or "cursor" in binding.action or binding.action == "command_palette":
            continue
        known.add(binding.description)
        yield active.node, binding


def _together(keys: list[str]) -> str:
    """Return ``1-9`` for nine digits, else all keys, separated by spaces."""
    digits = keys == [str(digit) for digit in range(1, 10)]
    return "1-9" if digits else " ".join(keys)
