"""Output of commands: plain sentences, tables and JSON. All text for a terminal passes through here."""

import json
import math
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich import console as rich_console
from rich.console import ConsoleOptions, RenderableType
from rich.prompt import Confirm
from rich.segment import Segment
from rich.text import Text

from lop_engine.errors import LaunchError
from lop_engine.text import plain
from lop_engine.text import plural as plural

#: Replacements for characters that the terminal's encoding lacks.
_IN_ASCII = {"±": "+-", "…": "~", "–": "-", "—": "-", "×": "x", "→": "->"}  # noqa: RUF001


class Console(rich_console.Console):
    """A console that prints plain text: without markup, and without control characters in names and errors.

    Args:
        pipe_width: line width if the output is not a terminal.
        settings: arguments of `rich.console.Console`.
    """

    def __init__(self, pipe_width: int | None = None, **settings: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **settings)
        if pipe_width and not self.is_terminal:
            self.width = pipe_width

    def plain(self, text: str) -> str:
        """Replace characters of `text` that this console cannot show, line by line."""
        text = "\n".join(map(plain, text.split("\n")))
        if not text.isascii() and self.options.ascii_only:
            text = "".join(_IN_ASCII.get(one, one) for one in text)
        return text

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(self.plain(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, Text) and (shown := self.plain(renderable.plain)) != renderable.plain:
            renderable = renderable.copy()
            renderable.plain = shown
        return super().render(renderable, options)


def say(console: Console, text: str, style: str = "") -> None:
    """Print lines verbatim: no markup, and no wrapping in pipes, which programs may read."""
    console.print(text, style=style, soft_wrap=True)


def print_json(answer: Any) -> None:
    """Print only JSON: names unchanged, non-finite values as null."""
    try:
        content = orjson.dumps(answer, option=orjson.OPT_INDENT_2)
    except TypeError:  # a file name that is not UTF-8 needs escapes
        content = json.dumps(_finite(answer), indent=2).encode()
    sys.stdout.buffer.write(content + b"\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_argument(path: Path) -> str:
    """Return `path` as one shell word that programs do not read as an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def in_runs_dir(runs_dir: Path) -> str:
    """Return the option that selects `runs_dir`; nothing for ``runs``."""
    return "" if runs_dir == Path("runs") else f" --runs-dir {as_argument(runs_dir)}"


def resume_command(runs_dir: Path, selectors: Sequence[str]) -> str:
    """Return the `lop resume` command for the runs of `selectors`, ready to paste into a shell."""
    words = [shlex.quote(selector) for selector in selectors]
    if any(selector.startswith("-") for selector in selectors):
        return " ".join([f"lop resume{in_runs_dir(runs_dir)}", "--", *words])
    return " ".join(["lop resume", *words]) + in_runs_dir(runs_dir)


def confirm(console: Console, question: str, refusal: str) -> None:
    """Ask a question; raise LaunchError with `refusal` unless the answer is yes."""
    if not (sys.stdin and sys.stdin.isatty()):
        raise LaunchError(f"{question} Confirm with --yes")
    try:
        agreed = Confirm.ask(question, console=console, default=False)
    except EOFError:  # Ctrl-D
        agreed = False
    if not agreed:
        raise LaunchError(refusal)
