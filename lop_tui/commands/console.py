"""Plain sentences on the console."""

from rich.console import Console


def say(console: Console, text: str, style: str = "") -> None:
    """Print a line as it is: paths and error texts are no markup, and are not broken where a pipe may read them."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def plural(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
