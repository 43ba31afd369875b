"""`lop new`: writes a component to start from, its test, and an experiment that uses it."""

import keyword
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lop_engine.errors import UserError, instead
from lop_tui.commands.app import app

KEYS = {"method": "agent", "problem": "problem", "network": "network", "metric": "metrics"}
"""Key of an experiment file that names a component, by kind."""

LONGEST_NAME = 40


@app.command(epilog="Example: [b]lop new method my_method[/b]", rich_help_panel="Components")
def new(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="method, problem, network or metric.", show_default=False)
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the component and its file.", show_default=False)
    ],
) -> int:
    """Write a working component to start from: NAME.py, its test, and an experiment file that uses it."""
    if kind not in KEYS:
        raise UserError(f'new: no kind of component "{kind}"{instead(kind, KEYS)}')
    _check(kind, name)
    contents = {_renamed(path.name, kind, name): _renamed(path.read_text(), kind, name) for path in _templates(kind)}
    for file in contents:
        if Path(file).exists():
            raise UserError(f"{file}: exists already, and nothing was written; choose another name, or remove it")
    for file, content in contents.items():
        with Path(file).open("x", encoding="utf-8") as new:
            new.write(content)
    _explain(kind, name)
    return 0


def _check(kind: str, name: str) -> None:
    """Raise UserError for a name that a file, a Python module or a component cannot have."""
    from lop_engine.experiment.registry import REGISTRIES

    example = f"choose one such as my_{kind}"
    if not (name.isidentifier() and name.isascii()) or keyword.iskeyword(name) or len(name) > LONGEST_NAME:
        rule = f"should be letters, digits and _, beginning with a letter, {LONGEST_NAME} characters at most"
        raise UserError(f'new: "{name}": {rule}; {example}')
    if REGISTRIES[KEYS[kind]].find(name):
        raise UserError(f'new: "{name}": lop has a {kind} of that name; {example}')
    if name in sys.stdlib_module_names or _is_installed(name):
        raise UserError(f'new: "{name}": {name}.py would hide the Python module of that name; {example}')


def _is_installed(name: str) -> bool:
    """Whether a module of that name is installed, outside the working directory."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and (spec.origin is None or Path(spec.origin).parent != Path.cwd())


def _templates(kind: str) -> list[Path]:
    from lop_engine import templates

    directory = Path(str(templates.__file__)).parent
    return [directory / file for file in (f"my_{kind}.py", f"test_my_{kind}.py", f"my_{kind}.json")]


def _renamed(text: str, kind: str, name: str) -> str:
    """Return a template's text or file name, with `name` in place of the example's."""
    words = [word for word in name.split("_") if word] or [name]
    class_name = "".join(word[0].upper() + word[1:] for word in words)
    if class_name == name or not class_name.isidentifier():
        class_name = f"{class_name.strip('_0123456789')}{kind.capitalize()}"
    for old, new in ((f"my_{kind}", name), (f"My{kind.capitalize()}", class_name), (f"my {kind}", " ".join(words))):
        text = text.replace(old, new)
    return text


def _explain(kind: str, name: str) -> None:
    from lop_engine.extras import python
    from lop_tui.words.console import Console, say

    value = f'["train_loss", "./{name}.py"]' if kind == "metric" else f'"./{name}.py"'
    check = f"{python()} -m pytest test_{name}.py" if find_spec("pytest") else f"{python()} test_{name}.py"
    lines = {
        f"lop run {name}.json --seeds 2": "trains it in a small experiment",
        check: "tests it",
        f"lop {kind}s ./{name}.py": "shows its keys" if kind != "metric" else "shows how it is described",
        f'"{KEYS[kind]}": {value}': "uses it, in an experiment file of this directory",
    }
    console, width = Console(), max(map(len, lines))
    say(console, f"wrote {name}.py, test_{name}.py and {name}.json")
    for typed, meaning in lines.items():
        say(console, f"  {typed:<{width}}  {meaning}")
