"""The options and defaults of every command, generated for the end of the site's command page."""

from typing import Any

from typer.main import get_command

from lop_tui.cli import app


def all_commands() -> dict[str, Any]:
    """Return every command by the words that call it: ``run``, ``data import``."""
    commands: dict[str, Any] = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        commands |= {f"{name} {sub}": one for sub, one in getattr(command, "commands", {}).items()} or {name: command}
    return commands


def build() -> str:
    """Return a section of Markdown for each command."""
    return "\n".join(_describe(name, command) for name, command in all_commands().items())


def _describe(name: str, command: Any) -> str:
    example = command.epilog.replace("[b]", "").replace("[/b]", "").removeprefix("Example: ")
    shown = [one for one in command.params if not one.hidden] if hasattr(command, "params") else []
    arguments = " ".join(one.metavar for one in shown if one.param_type_name == "argument")
    lines = [f"## lop {name}\n", f"{command.help}\n", f"    lop {name} [OPTIONS] {arguments}".rstrip() + "\n"]
    rows = [f"| {_names(one)} | {_cell(one.help)} | {_default(one)} |" for one in shown if one.name != "help"]
    if rows:
        lines.append("\n".join(["| argument or option | what it does | default |", "|---|---|---|", *rows]) + "\n")
    return "\n".join([*lines, f"Example: `{example}`\n"])


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_cell(parameter.metavar)}`"
    names = [*parameter.opts, *parameter.secondary_opts]
    takes = "" if parameter.is_flag else f" {parameter.metavar}"
    return ", ".join(f"`{_cell(name + takes)}`" for name in names if name.strip())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    shown, value = parameter.show_default, parameter.default
    if isinstance(shown, str):
        return _cell(shown)
    if value is None or value == [] or getattr(parameter, "is_flag", False) or not shown:
        return ""
    return f"`{', '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
