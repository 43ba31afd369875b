"""Plain sentences on the console."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.prompt import Confirm

from lop_engine.errors import LaunchError
from lop_engine.logs import clean


def say(console: Console, text: str, style: str = "") -> None:
    """Print lines as they are: paths and error texts are no markup, and are not broken where a pipe may read them."""
    text = "\n".join(map(clean, text.split("\n")))
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def in_runs_dir(runs_dir: Path) -> str:
    """What a command needs besides to mean `runs_dir`: nothing for ``runs``."""
    return "" if runs_dir == Path("runs") else f" --runs-dir {shlex.quote(str(runs_dir))}"


def resume_command(runs_dir: Path, selectors: Sequence[str]) -> str:
    return " ".join(["lop resume", *selectors]) + in_runs_dir(runs_dir)


def confirm(console: Console, question: str, refusal: str) -> None:
    """Raise LaunchError with `refusal` unless the question is answered with yes."""
    if not sys.stdin.isatty():
        raise LaunchError(f"{question} Say so with --yes")
    if not Confirm.ask(question, console=console, default=False):
        raise LaunchError(refusal)


def plural(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
