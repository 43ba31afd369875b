"""`lop bench`: measures the cost of training, metrics and files on this machine."""

import json
import time
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from lop_engine.errors import UserError, did_you_mean
from lop_tui.commands.app import app
from lop_tui.commands.options import Device, Json

PARTS = ("steps", "methods", "online", "workers", "stacks", "metrics", "upkeep", "memory", "hours")
ON_DEMAND = ("methods", "online")
"""Parts that only run if they are named."""


@app.command(epilog="Example: [b]lop bench --only steps --json[/b]", rich_help_panel="Set up")
def bench(
    configs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CFG]...",
            help="Experiment files whose time to estimate; by default cfg/*.json.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="steps, methods, online, workers, stacks, metrics, upkeep, memory or hours; repeatable.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[bool, typer.Option("--methods", help="Time only the training step of every method.")] = False,
    problem: Annotated[
        str | None,
        typer.Option(
            metavar="scr|mnist",
            help="Time only this online problem, compared with plain PyTorch.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Number of repetitions of each measurement.")] = 7,
    precision: Annotated[str, typer.Option(help="Precision of the training step: fp32, tf32 or bf16.")] = "fp32",
    as_json: Json = False,
) -> int:
    """Measure how fast this machine trains, compared with plain PyTorch, and how much memory it takes (3 minutes)."""
    import lop_engine
    from lop_engine.bench import measure
    from lop_engine.experiment.parts import Precision
    from lop_engine.experiment.run import load_runs
    from lop_engine.launch import decide_resources
    from lop_tui.words.bench import TABLES, Report
    from lop_tui.words.console import Console, say

    only = [*(only or []), *(["methods"] if methods else []), *(["online"] if problem else [])]
    if problem and problem not in measure.ONLINE:
        raise UserError(f'--problem "{problem}": choose {", ".join(measure.ONLINE)}')
    for part in only:
        if part not in PARTS:
            raise UserError(f'--only "{part}": choose {", ".join(PARTS)}{did_you_mean(part, PARTS)}')
    if precision not in get_args(Precision):
        raise UserError(f'--precision "{precision}": choose {", ".join(get_args(Precision))}')
    resources = decide_resources([measure.paper_spec()], device, 1, 1)
    chosen = resources.devices[0]
    paths = configs or _shipped_configs()
    for path in paths:
        load_runs(path)  # report errors in a file now, not after two minutes
    progress, console = Console(stderr=True), Console()
    if resources.note:
        say(progress, f"note: {resources.note}")
    about = {"device": chosen, "precision": precision, "measured_at": time.time(), "lop": lop_engine.__version__}
    report: Report = dict(about)
    bench = measure.Bench(chosen, rounds, lambda text: say(progress, text, style="dim"), cast(Precision, precision))
    for part in [part for part in PARTS if part in only or not (only or part in ON_DEMAND)]:
        if part in ("workers", "stacks") and chosen != "cpu":
            continue  # a GPU has one worker with as large a stack as its memory allows
        measured = getattr(measure, f"bench_{part}")
        about_part: dict[str, list[object]] = {"hours": [paths], "stacks": [paths], "online": [problem or "scr"]}
        report[part] = measured(bench, *about_part.get(part, []))
        if not as_json:
            TABLES[part](console, report[part])
    if as_json:
        print(json.dumps(report, indent=2))
    return 0


def _shipped_configs() -> list[Path]:
    """Return the files of the paper's protocol: those in ``cfg`` here, or those shipped with lop."""
    from lop_engine.experiment.run import shipped

    return sorted(Path("cfg").glob("*.json")) or [path for name, path in shipped().items() if "/" not in name]
