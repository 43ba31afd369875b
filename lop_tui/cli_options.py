"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Where the runs are kept.")]
DEFAULT_RUNS_DIR = Path("runs")
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes; one a core or GPU by default.", show_default=False)
]
SeedsPerWorker = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Seeds a worker trains at once; 1 or 2 on a CPU, all that fit on a GPU by default.",
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
        metavar="[RUN]...", help="A method, method/setting, seed (3, 0-9), method/setting/seed or a pattern (cbp*)."
    ),
]
WHERE = typer.Option(
    "--where",
    metavar="QUERY",
    help="Only these runs: words that must all hold. A part of the name; method, experiment, setting, seed, state, "
    'device or progress with a value; commas mean or, a leading - not: "method:cbp,l2 seed:0-9 -state:failed".',
    show_default=False,
)
Where = Annotated[str, WHERE]
