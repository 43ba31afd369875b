"""`lop run`: trains the runs of experiment files."""

from pathlib import Path
from typing import Annotated

import typer

from lop_tui.commands.app import app
from lop_tui.commands.options import (
    DEFAULT_RUNS_DIR,
    AcceptCodeChange,
    Detach,
    Device,
    Launcher,
    Notify,
    Retries,
    RunsDir,
    RunsPerWorker,
    Slurm,
    Stage,
    StopWhen,
    UseStoredCode,
    Watch,
    Workers,
    code_choice,
)


@app.command(epilog="Example: [b]lop run cfg/demo/bp.json cfg/demo/cbp.json --seeds 2[/b]", rich_help_panel="Train")
def run(
    configs: Annotated[
        list[Path],
        typer.Argument(metavar="CFG...", help="Experiment files, or names (lop configs).", show_default=False),
    ],
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Number of seeds (30), or a list (0,3,5-9); by default num_runs of the file.", show_default=False
        ),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|synthetic",
            help="Images to train on, instead of those that the file names (lop data).",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    workers: Workers = None,
    runs_per_worker: RunsPerWorker = None,
    retries: Retries = 1,
    launcher: Launcher = None,
    slurm: Slurm = None,
    stage: Stage = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a key of the files; repeatable.", show_default=False),
    ] = None,
    stop_when: StopWhen = None,
    notify: Notify = "",
    watch: Watch = False,
    detach: Detach = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove existing records of these runs and start over.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to questions.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what would run, how long it would take and how much memory; do not train."
        ),
    ] = False,
    estimate: Annotated[bool, typer.Option(" /--no-estimate", help="With --dry-run: skip the time estimate.")] = True,
    accept_code_change: AcceptCodeChange = False,
    use_stored_code: UseStoredCode = False,
) -> int:
    """Train every setting and seed of one or more experiments; resume unfinished runs."""
    from lop_tui.commands import starting
    from lop_tui.commands.cluster import LauncherOptions, fit
    from lop_tui.commands.training import TrainingOptions
    from lop_tui.words.console import Console

    console = Console()
    launcher_options = LauncherOptions.typed(launcher, slurm, stage)
    code = code_choice(accept_code_change, use_stored_code)
    options = TrainingOptions(
        runs_dir, device, workers, runs_per_worker, retries, watch, detach, launcher_options, notify
    )
    requested = starting.load(
        console, configs, seeds, starting.Overrides(overrides or [], data, stop_when), runs_dir, fresh
    )
    request = launcher_options.request()
    request = fit(console, request) if request else None
    if dry_run:
        starting.show_plan(console, requested, options, request, estimate)
        return 0
    if fresh and not yes:
        starting.confirm_fresh(console, runs_dir, requested)
    starting.refuse_what_cannot_be_had(requested, options, request, fresh)
    prepared = starting.queue(console, requested, options, request, fresh, code)
    return starting.train(console, requested, prepared, options, request)
