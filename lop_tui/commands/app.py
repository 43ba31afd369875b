"""The command `lop`, to which each module of this folder adds a command."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from lop_engine.errors import UserError

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Command(TyperCommand):
    """A command whose function returns the exit status; None means 0.

    It refuses repeated options; Click would silently use the last one. Its help names the values of options.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        for parameter in self.params:
            _say_what_it_takes(parameter)

    def get_help_option(self, ctx: Any) -> Any:
        return _say_what_it_takes(super().get_help_option(ctx))

    def invoke(self, ctx: Any) -> Any:
        ctx.exit(super().invoke(ctx) or 0)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = self.make_parser(ctx).parse_args(args=list(args))[2]
        for option in self.params:
            times = sum(one is option for one in given)
            if times > 1 and not ctx.resilient_parsing and _is_for_once(option):
                names = [name for name in (*option.opts, *option.secondary_opts) if name.startswith("--")]
                either = " or ".join(names or option.opts)
                several = "; lop merge copies runs of several directories into one" if either == "--runs-dir" else ""
                raise UserError(f"{self.name}: {either} is given {times} times; give it once{several}")
        return super().parse_args(ctx, args)


def _say_what_it_takes(parameter: Any) -> Any:
    """Name the value that a parameter takes: nothing for a flag, N for a number, else its metavar or its name."""
    if parameter.param_type_name == "argument":
        # Recent versions of Typer add the Python type, and repeat the brackets in the usage line.
        parameter.metavar = parameter.metavar or str(parameter.name).upper()
        parameter.display_type_rich = lambda ctx: None
        parameter._usage_display_name = lambda: parameter.metavar
        return parameter
    is_number = isinstance(parameter.default, int) or getattr(parameter, "min", None) is not None
    if getattr(parameter, "is_flag", False):
        parameter.metavar, parameter.show_default = "", False
    elif parameter.metavar is None:
        parameter.metavar = "N" if is_number else str(parameter.name).upper()
    return parameter


def _is_for_once(option: Any) -> bool:
    """Whether repeating an option would change its value. Repeating a plain flag (--yes --yes) changes nothing."""
    is_plain_flag = getattr(option, "is_flag", False) and not option.secondary_opts
    return option.param_type_name == "option" and not option.multiple and not is_plain_flag


class Commands(typer.Typer):
    """A group of `lop` commands."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[_Function], _Function]:
        """Register a command, like `typer.Typer.command`."""
        return super().command(name, cls=_Command, **settings)


class Group(TyperGroup):
    """A command with subcommands. Its help names the values of options, like that of a command."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_say_what_it_takes(one) for one in super().get_params(ctx)]


class _Lop(Group):
    """The command `lop` itself.

    It skips its own options if the first word is a command: typer would import pydantic to check their defaults.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["lop.has_command"] = bool(args) and not args[0].startswith("-")
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        if ctx.meta.get("lop.has_command") and ctx.parent is None:
            return []
        return super().get_params(ctx)


CONTEXT = {"help_option_names": ["-h", "--help"]}

app = Commands(
    cls=_Lop,
    help="Run experiments on loss of plasticity: train networks on streams of tasks, watch them, and compare methods.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=CONTEXT,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from lop_engine import __version__

        typer.echo(f"lop {__version__}")
        raise typer.Exit
