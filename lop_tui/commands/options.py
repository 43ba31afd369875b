"""Options that several commands share."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lop_engine.errors import UserError


def as_runs_dirs(value: Path | list[Path] | None) -> Path | list[Path] | None:
    """Return the typed directories, which need not exist yet. Raises UserError if one is something else."""
    for path in [value] if isinstance(value, Path) else value or []:
        if os.path.lexists(path) and not path.is_dir():
            is_link = path.is_symlink() and not os.path.exists(path)
            what = "a link that leads nowhere" if is_link else "not a directory"
            raise UserError(f"{path}: {what}; name the directory that holds the runs")
    return value


RunsDir = Annotated[
    Path, typer.Option("--runs-dir", metavar="DIR", help="Directory of the runs.", callback=as_runs_dirs)
]
DEFAULT_RUNS_DIR = Path("runs")
RunsDirs = Annotated[
    list[Path],
    typer.Option(
        "--runs-dir",
        metavar="DIR",
        help="Directory of the runs; repeat the option to read several.",
        callback=as_runs_dirs,
    ),
]
DEFAULT_RUNS_DIRS = [DEFAULT_RUNS_DIR]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes; by default one per core or GPU.", show_default=False)
]
RunsPerWorker = Annotated[
    int | None,
    typer.Option(
        "--runs-per-worker",
        "--seeds-per-worker",
        min=1,
        help="Runs that one worker trains together; by default the fastest number (docs/performance.md).",
        show_default=False,
    ),
]
Launcher = Annotated[
    str | None,
    typer.Option(
        metavar="local|slurm",
        help="local: train on this machine (the default); slurm: submit a job array (docs/cluster.md).",
        show_default=False,
    ),
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
        "Quote variables of the node: '$TMPDIR'.",
        show_default=False,
    ),
]
Watch = Annotated[bool, typer.Option("--watch", help="Show the dashboard during training.")]
Detach = Annotated[bool, typer.Option("--detach", help="Train in the background and return.")]
Notify = Annotated[
    str,
    typer.Option(
        metavar="CMD",
        help="Run this shell command at the first failure, when a rule ends a run, and at the end (docs/running.md).",
        show_default=False,
    ),
]
Retries = Annotated[int, typer.Option(min=0, help="Number of retries of a run whose worker died.")]
StopWhen = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RULE",
        help='End runs early: "test_accuracy<0.55 for 100 tasks", diverged, nan; none removes all rules; repeatable '
        "(docs/queries.md).",
        show_default=False,
    ),
]
Selectors = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Names of runs: an experiment, experiment/setting, seed (3, 0-9), experiment/setting/seed or a pattern "
        "(cbp*). Conditions as in --where select among them: cbp l2 seed:0-9. A name that can mean an experiment "
        "and a seed is refused.",
    ),
]
OneRun = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN...",
        help="A run: experiment/setting/seed, or a part of its name that only it has; also conditions, as in --where.",
        show_default=False,
    ),
]
WHERE = typer.Option(
    "--where",
    metavar="QUERY",
    help="Only runs that match all words (docs/queries.md). A word is a part of the name, or compares method, "
    "experiment, problem, setting, seed, state, device, progress, a metric (its last recorded value) or a key of the "
    "configuration. Commas mean or, a leading - means not: "
    '"method:cbp,l2 seed:0-9 -state:failed test_accuracy<0.55 step_size:0.01".',
    show_default=False,
)
Where = Annotated[str, WHERE]


AcceptCodeChange = Annotated[
    bool,
    typer.Option("--accept-code-change", help="Continue runs whose component files have changed; run.json records it."),
]
UseStoredCode = Annotated[
    bool,
    typer.Option("--use-stored-code", help="Continue such runs with the copies of their original files."),
]


def code_choice(accept: bool, stored: bool) -> Literal["refuse", "accept", "stored"]:
    """Return how to treat runs whose component files have changed. Raises UserError."""
    if accept and stored:
        raise UserError("--accept-code-change or --use-stored-code? Choose one")
    return "accept" if accept else "stored" if stored else "refuse"


CARRY = "carry"
ENDED_BY_RULE = (CARRY, "leave-out")
EndedByRule = Annotated[
    str,
    typer.Option(
        "--ended-by-rule",
        metavar="carry|leave-out",
        help="Runs that a rule ended: use their last value for later tasks (carry), or leave them out of later means.",
    ),
]
By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="TASKS",
        help="Tasks to average over: last, first or best (a tenth of the tasks), whole (run) or end (last bin).",
    ),
]
SelectSeeds = Annotated[
    str,
    typer.Option(
        "--select-seeds",
        metavar="SEEDS",
        help="Seeds on which the best setting of a sweep is chosen (0-4); the lower half by default.",
        show_default=False,
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="text, markdown, csv, json, latex (document) or tabular (table for \\input); by default that of -o.",
        show_default=False,
    ),
]


def output(help: str, *aliases: str, metavar: str = "FILE", show_default: bool = False) -> Any:
    """Return the option ``-o``, ``--output``: the file or directory that a command writes."""
    return typer.Option("-o", "--output", *aliases, metavar=metavar, help=help, show_default=show_default)


BibFile = Annotated[Path | None, output(".bib; a file of that name is replaced.")]
TableFile = Annotated[Path | None, output(".txt, .md, .csv, .json or .tex; a file of that name is replaced.")]
BinSize = Annotated[
    int | None,
    typer.Option(
        "--bin", min=1, help="Tasks per bin; by default the paper's 50, fewer in short runs.", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON.")]
