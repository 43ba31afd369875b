"""Options that several commands share, and a check that each is given once."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperCommand

from lop_engine.errors import UserError

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Command(TyperCommand):
    """A command that refuses a repeated option; Click would silently use the last one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = self.make_parser(ctx).parse_args(args=list(args))[2]
        for option in self.params:
            times = sum(one is option for one in given)
            if times > 1 and not ctx.resilient_parsing and _is_for_once(option):
                name = max(option.opts, key=len)
                either = f"{name} or {option.secondary_opts[0]}" if option.opts and option.secondary_opts else name
                several = "; lop merge copies runs of several directories into one" if name == "--runs-dir" else ""
                raise UserError(f"{self.name}: {either} is given {times} times; give it once{several}")
        return super().parse_args(ctx, args)


def _is_for_once(option: Any) -> bool:
    """Whether a second use changes the first. Repeating a plain flag (--yes --yes) changes nothing."""
    is_plain_flag = getattr(option, "is_flag", False) and not option.secondary_opts
    return option.param_type_name == "option" and not option.multiple and not is_plain_flag


class Commands(typer.Typer):
    """A group of `lop` commands."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[_Function], _Function]:
        """Register a command, as `typer.Typer.command`."""
        return super().command(name, cls=_Command, **settings)


RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Where the runs are kept.")]
DEFAULT_RUNS_DIR = Path("runs")
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes; one a core or GPU by default.", show_default=False)
]
RunsPerWorker = Annotated[
    int | None,
    typer.Option(
        "--runs-per-worker",
        "--seeds-per-worker",
        min=1,
        help="Runs that a worker trains in step, seeds and settings; by default as many as pay (docs/performance.md).",
        show_default=False,
    ),
]
Launcher = Annotated[
    str | None,
    typer.Option(metavar="local|slurm", help="This machine, or a job array (docs/cluster.md).", show_default="local"),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="With --launcher slurm: partition, account, qos, time, gpus, cpus, memory ...; repeatable.",
        show_default=False,
    ),
]
Stage = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="With --launcher slurm: copy the images to this directory of each node first, and read them there. "
        "Quote a variable of the node: '$TMPDIR'.",
        show_default=False,
    ),
]
Retries = Annotated[int, typer.Option(min=0, help="How often a run whose worker died is tried again.")]
Selectors = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="An experiment, experiment/setting, seed (3, 0-9), experiment/setting/seed, a pattern (cbp*) "
        "or method:NAME. A name that is both an experiment's and a seed's is refused.",
    ),
]
WHERE = typer.Option(
    "--where",
    metavar="QUERY",
    help="Only these runs: words that must all hold. A part of the name; method, experiment, problem, setting, "
    "seed, state, device or progress with a value; commas mean or, a leading - not: "
    '"method:cbp,l2 seed:0-9 -state:failed".',
    show_default=False,
)
Where = Annotated[str, WHERE]


AcceptCodeChange = Annotated[
    bool,
    typer.Option("--accept-code-change", help="Continue runs whose component files have changed; run.json records it."),
]
UseStoredCode = Annotated[
    bool,
    typer.Option("--use-stored-code", help="Continue such runs with the copies of their files from when they began."),
]


def code_choice(accept: bool, stored: bool) -> Literal["refuse", "accept", "stored"]:
    """What to do with runs whose component files have changed. Raises UserError."""
    if accept and stored:
        raise UserError("--accept-code-change or --use-stored-code? Choose one")
    return "accept" if accept else "stored" if stored else "refuse"
