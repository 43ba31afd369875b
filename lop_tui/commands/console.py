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


def as_argument(path: Path) -> str:
    """Return `path` as one word of a shell command that no program takes for an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def in_runs_dir(runs_dir: Path) -> str:
    """What a command needs besides to mean `runs_dir`: nothing for ``runs``."""
    return "" if runs_dir == Path("runs") else f" --runs-dir {as_argument(runs_dir)}"


def resume_command(runs_dir: Path, selectors: Sequence[str]) -> str:
    """Return the `lop resume` command for the runs that `selectors` name, ready to paste into a shell."""
    words = [shlex.quote(selector) for selector in selectors]
    if any(selector.startswith("-") for selector in selectors):
        return " ".join([f"lop resume{in_runs_dir(runs_dir)}", "--", *words])
    return " ".join(["lop resume", *words]) + in_runs_dir(runs_dir)


def confirm(console: Console, question: str, refusal: str) -> None:
    """Raise LaunchError with `refusal` unless the question is answered with yes."""
    if not (sys.stdin and sys.stdin.isatty()):
        raise LaunchError(f"{question} Say so with --yes")
    try:
        agreed = Confirm.ask(question, console=console, default=False)
    except EOFError:  # Ctrl-D
        agreed = False
    if not agreed:
        raise LaunchError(refusal)


def plural(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
