"""The `lop` command line: options and help. The work is in `lop_tui.commands`, imported when it is needed."""

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lop_engine.errors import UserError, sentence
from lop_engine.text import plain
from lop_tui import cli_components, cli_data, cli_results
from lop_tui.cli_options import (
    DEFAULT_RUNS_DIR,
    WHERE,
    AcceptCodeChange,
    Commands,
    Device,
    Launcher,
    Retries,
    RunsDir,
    RunsPerWorker,
    Selectors,
    Slurm,
    Stage,
    UseStoredCode,
    Where,
    Workers,
    code_choice,
)

app = Commands(
    help="Watch neural networks lose, or keep, the ability to learn.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="Example: [b]lop run cfg/demo/bp.json cfg/demo/cbp.json --seeds 2[/b]", rich_help_panel="Train")
def run(
    configs: Annotated[
        list[Path],
        typer.Argument(metavar="CFG...", help="Experiment files, or names (lop configs).", show_default=False),
    ],
    seeds: Annotated[
        str | None,
        typer.Option(help="How many (30), or which (0,3,5-9). By default num_runs of the file.", show_default=False),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|synthetic", help="Images to train on, in place of the file's (lop data).", show_default=False
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
    watch: Annotated[bool, typer.Option("--watch", help="Show the dashboard while it trains.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Train in the background and return.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what there is of these runs and start over.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to questions.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would run, how long it would take and how much memory; change nothing."
        ),
    ] = False,
    estimate: Annotated[
        bool, typer.Option(" /--no-estimate", help="With --dry-run: do not measure how long it would take.")
    ] = True,
    accept_code_change: AcceptCodeChange = False,
    use_stored_code: UseStoredCode = False,
) -> None:
    """Train every setting and seed of one or more experiments; go on with what was begun."""
    from lop_tui.commands.cluster import Launching
    from lop_tui.commands.run import Request, run_experiments

    request = Request(
        configs,
        seeds,
        runs_dir,
        data,
        device,
        workers,
        runs_per_worker,
        retries,
        overrides or [],
        watch,
        detach,
        fresh,
        yes,
        dry_run,
        estimate,
        Launching.typed(launcher, slurm, stage),
        code_choice(accept_code_change, use_stored_code),
    )
    raise typer.Exit(run_experiments(request))


@app.command(epilog="Example: [b]lop watch runs/demo[/b]", rich_help_panel="Look")
def watch(
    context: typer.Context,
    directory: Annotated[Path | None, typer.Argument(metavar="[RUNS_DIR]", help="Where the runs are.")] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Annotated[str | None, WHERE] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame as text and return.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one frame as numbers (JSON) and return.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="With --once: a chart of this metric; repeatable. By default the first five of the problem.",
            show_default=False,
        ),
    ] = None,
    refresh: Annotated[float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="Time between looks.")] = 1.0,
) -> None:
    """Show the metrics of all runs, live."""
    from lop_tui.commands.watch import watch_runs

    is_typed = getattr(context.get_parameter_source("runs_dir"), "name", "") == "COMMANDLINE"
    if directory and is_typed and runs_dir != directory:
        raise UserError(f"watch: {directory} or {runs_dir}? Name one directory")
    raise typer.Exit(watch_runs(directory or runs_dir, once, as_json, refresh, where, metric or []))


@app.command(epilog="Example: [b]lop status --json[/b]", rich_help_panel="Look")
def status(
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """List every run: its state, tasks done, and its headline metric over the last tenth of its tasks."""
    from lop_tui.commands.status import show_status

    raise typer.Exit(show_status(runs_dir, where, as_json))


app.add_typer(cli_results.app)
app.add_typer(cli_components.app)
app.add_typer(
    cli_data.app, name="data", epilog="Example: [b]lop data import ~/Imagenet32_train[/b]", rich_help_panel="Set up"
)


@app.command(epilog="Example: [b]lop stop cbp[/b]", rich_help_panel="Train")
def stop(
    runs: Selectors = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    now: Annotated[
        bool, typer.Option("--now", help="Do not let them end their epoch; it is trained again on resume.")
    ] = False,
) -> None:
    """Let running runs save and stop, and take waiting ones off the queue; all of them by default."""
    from lop_tui.commands import lifecycle

    raise typer.Exit(lifecycle.stop(runs_dir, runs or [], now))


@app.command(epilog="Example: [b]lop resume cbp/default[/b]", rich_help_panel="Train")
def resume(
    runs: Selectors = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    device: Device = "auto",
    workers: Workers = None,
    runs_per_worker: RunsPerWorker = None,
    retries: Retries = 1,
    launcher: Launcher = None,
    slurm: Slurm = None,
    stage: Stage = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the dashboard while it trains.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Train in the background and return.")] = False,
    accept_code_change: AcceptCodeChange = False,
    use_stored_code: UseStoredCode = False,
) -> None:
    """Go on with runs that were stopped, failed, lost or left waiting, from their checkpoints; by default all."""
    from lop_tui.commands.cluster import Launching
    from lop_tui.commands.resume import Means
    from lop_tui.commands.resume import resume as resume_runs

    launching = Launching.typed(launcher, slurm, stage)
    code = code_choice(accept_code_change, use_stored_code)
    means = Means(device, workers, runs_per_worker, retries, watch, detach, launching, code)
    raise typer.Exit(resume_runs(runs_dir, runs or [], means))


@app.command(epilog="Example: [b]lop logs cbp/default/3 -f[/b]", rich_help_panel="Look")
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: experiment/setting/seed, or less if that is one.")],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until the run ends.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="Lines from the end.")] = 40,
) -> None:
    """Show what the worker of a run has said."""
    from lop_tui.commands.logs import show_log

    raise typer.Exit(show_log(runs_dir, run, lines, follow))


@app.command(epilog="Example: [b]lop rm bp/step_size=0.01[/b]", rich_help_panel="Train")
def rm(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Which runs, as of lop stop.")],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove runs and their records, after asking; never one that is being trained."""
    from lop_tui.commands import lifecycle

    raise typer.Exit(lifecycle.remove(runs_dir, runs, yes))


@app.command(epilog="Example: [b]lop configs snp > my.json[/b]", rich_help_panel="Set up")
def configs(
    name: Annotated[str | None, typer.Argument(help="Print the file of this experiment.", show_default=False)] = None,
) -> None:
    """List the experiments that come with lop, or print one."""
    from lop_tui.commands.configs import show_configs

    raise typer.Exit(show_configs(name))


@app.command(epilog="Example: [b]lop doctor --repair[/b]", rich_help_panel="Set up")
def doctor(
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rewrite damaged record files with their whole documents; keep the old.")
    ] = False,
) -> None:
    """Check installation, devices, disk, images and every run directory. Exit status 1 if anything is wrong."""
    from lop_tui.commands.doctor import consult

    raise typer.Exit(consult(runs_dir, repair))


@app.command(epilog="Example: [b]lop bench --only steps --json[/b]", rich_help_panel="Set up")
def bench(
    configs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CFG]...",
            help="Experiment files whose hours to estimate; by default cfg/*.json.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="steps, workers, stacks, metrics, upkeep, memory or hours; repeatable.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="How often each measurement is taken.")] = 7,
    precision: Annotated[str, typer.Option(help="Of the training step: fp32, tf32 or bf16.")] = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Metric training, metrics, files and memory on this machine, against plain PyTorch; 3 minutes."""
    from lop_tui.commands.bench import bench_machine

    raise typer.Exit(bench_machine(configs or [], device, only or [], rounds, precision, as_json))


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and return.", is_eager=True)] = False,
) -> None:
    if version:
        from lop_engine import __version__

        typer.echo(f"lop {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit status 2, never a traceback."""
    # Replace streams that the caller closed (>&-, <&-): output is dropped, input is empty.
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a character shows ? in its place
    try:
        app()
    except UserError as error:
        _complain(str(error))
    except BrokenPipeError:
        # The reader of our output has gone (lop status | head): that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _complain(sentence(error))
    except MemoryError as error:
        what = str(error) or "an allocation failed"
        _complain(f"out of memory ({what}); choose fewer runs with --where, fewer seeds, or larger bins with --bin")
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(message: str) -> None:
    # What a file is called may hold a line's end, or worse.
    print(f"lop: {plain(message, escaped=True)}", file=sys.stderr)
    sys.exit(2)
