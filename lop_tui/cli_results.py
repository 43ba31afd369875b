"""What is made of the records of runs: options and help."""

from pathlib import Path
from typing import Annotated

import typer

from lop_tui.cli_options import DEFAULT_RUNS_DIR, Commands, RunsDir, Where

app = Commands(rich_markup_mode="rich")

By = Annotated[
    str,
    typer.Option(
        "--by", metavar="TASKS", help="Mean over these tasks: last (tenth), whole (run), end (last bin), first or best."
    ),
]
SelectSeeds = Annotated[
    str,
    typer.Option(
        "--select-seeds",
        metavar="SEEDS",
        help="Seeds that choose the best setting of a sweep (0-4); the lower half by default.",
        show_default=False,
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="text, markdown, csv, json, latex (compiles alone) or tabular (for \\input); by default as -o's suffix.",
        show_default=False,
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help=".txt, .md, .csv, .json or .tex; a file of that name is replaced.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]


@app.command(
    epilog="Example: [b]lop plot test_accuracy --runs-dir runs/demo -o demo.png[/b]", rich_help_panel="Results"
)
def plot(
    metrics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[METRIC]...",
            help="A panel each; the problem's headline by default, all for those it records. Of a sweep also the "
            "experiment, by its name or file.",
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="tasks (a line a setting), sweep (the settings of one experiment), methods (a line a method, its "
            "best setting), sensitivity (over a swept key), grid (over two), metrics (all that the problem "
            "records), seeds (each by itself) or within-task (over epochs).",
        ),
    ] = "tasks",
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="PNG, SVG or PDF; a file of that name is replaced.",
            show_default=False,
        ),
    ] = None,
    bin_size: Annotated[
        int | None,
        typer.Option(
            "--bin", min=1, help="Tasks a bin; the paper's 50 by default, fewer in short runs.", show_default=False
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the figure.", show_default=False)] = "",
    where: Where = "",
    tasks: Annotated[
        str, typer.Option(metavar="A-B", help="Draw these tasks only; A- or -B leave one end open.", show_default=False)
    ] = "",
    band: Annotated[
        str, typer.Option(metavar="BAND", help="se (standard error), sd (deviation), ci95 (Student's t) or none.")
    ] = "se",
    heatmap: Annotated[
        bool, typer.Option("--heatmap", help="With --kind seeds: a row a seed in place of lines.")
    ] = False,
    at: Annotated[
        str,
        typer.Option(
            metavar="TASK,...",
            help="With --kind within-task: these tasks; the first, middle and last by default.",
            show_default=False,
        ),
    ] = "",
    over: Annotated[
        str,
        typer.Option(
            metavar="KEY,...",
            help="With --kind sensitivity or grid: the swept key or keys; by default all, if they are as many.",
            show_default=False,
        ),
    ] = "",
    select_seeds: SelectSeeds = "",
    reference: Annotated[
        bool, typer.Option("--reference", help="Show the paper's levels where the protocol is the paper's.")
    ] = False,
    style: Annotated[str, typer.Option(metavar="STYLE", help="paper, or screen for talks.")] = "paper",
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height in inches.", show_default=False)] = "",
    dpi: Annotated[int | None, typer.Option(help="Dots an inch of a PNG.", show_default=False)] = None,
    log: Annotated[
        bool | None,
        typer.Option(
            "--log/--no-log", help="Log scale; by default for curvature and gradient norm.", show_default=False
        ),
    ] = None,
) -> None:
    """Draw runs as a figure: a metric over tasks, mean over seeds and a band (docs/figures.md)."""
    from lop_tui.commands.plot import plot_runs
    from lop_tui.commands.plot_request import Request

    request = Request(
        runs_dir,
        metrics or [],
        kind=kind,
        output=output,
        bin_size=bin_size,
        title=title,
        where=where,
        tasks=tasks,
        log=log,
        band_name=band,
        size=size,
        dpi=dpi,
        style=style,
        reference=reference,
        heatmap=heatmap,
        at=at,
        over=over,
        select_seeds=select_seeds,
    )
    raise typer.Exit(plot_runs(request))


@app.command(
    epilog="Example: [b]lop compare bp/step_size=0.01 cbp --metric test_accuracy[/b]", rich_help_panel="Results"
)
def compare(
    groups: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...",
            help="Experiments or settings (bp/step_size=0.01); the others stand against the first.",
            show_default=False,
        ),
    ],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    metric: Annotated[
        list[str] | None, typer.Option(help="What to compare; repeatable; the problem's headline by default.")
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, metavar="BINS", help="A further row: the last BINS bins.", show_default=False)
    ] = None,
    bin_size: Annotated[
        int | None,
        typer.Option(
            "--bin", min=1, help="Tasks a bin; the paper's 50 by default, fewer in short runs.", show_default=False
        ),
    ] = None,
    where: Where = "",
    select_seeds: SelectSeeds = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Say how groups of runs differ from the first, seed by seed, with intervals and tests."""
    from lop_tui.commands.compare import Request, compare_runs

    request = Request(runs_dir, groups, metric or [], last, bin_size, where, select_seeds, markdown, as_json)
    raise typer.Exit(compare_runs(request))


@app.command(epilog="Example: [b]lop best --runs-dir runs/demo --select-seeds 0-4[/b]", rich_help_panel="Results")
def best(
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    metric: Annotated[str, typer.Option(help="What to judge by; the problem's headline by default.")] = "",
    by: By = "last",
    lowest: Annotated[
        bool, typer.Option("--lowest", help="The lowest value is the best; by default as the metric says.")
    ] = False,
    select_seeds: SelectSeeds = "",
    where: Where = "",
    form: Format = "",
    output: TableFile = None,
    as_json: Json = False,
) -> None:
    """Choose the best setting of each method of a sweep on some seeds, and report it on the others."""
    from lop_tui.commands.best import Request, best_settings

    raise typer.Exit(best_settings(Request(runs_dir, where, metric, by, select_seeds, lowest, form, output, as_json)))


@app.command(epilog="Example: [b]lop table --over last --over whole -o table.tex[/b]", rich_help_panel="Results")
def table(
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    metric: Annotated[
        list[str] | None, typer.Option(help="What to show; repeatable; the headline of each problem by default.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASKS",
            help="Columns: first, best, last (tenth) or whole (run); repeatable; all by default.",
            show_default=False,
        ),
    ] = None,
    by: By = "last",
    select_seeds: SelectSeeds = "",
    settings: Annotated[
        bool, typer.Option("--settings", help="A row for each setting, not only for each method's best.")
    ] = False,
    where: Where = "",
    form: Format = "",
    output: TableFile = None,
    as_json: Json = False,
) -> None:
    """Make a table of methods: mean, 95 % interval, number of seeds, and which are as good as the best."""
    from lop_tui.commands.table import Request, show_table

    request = Request(runs_dir, where, metric or [], over or [], by, select_seeds, settings, form, output, as_json)
    raise typer.Exit(show_table(request))


@app.command(epilog="Example: [b]lop power cbp l2 --difference 1[/b]", rich_help_panel="Results")
def power(
    groups: Annotated[
        list[str], typer.Argument(metavar="A B", help="Two experiments or settings.", show_default=False)
    ],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    metric: Annotated[str, typer.Option(help="What to compare; the problem's headline by default.")] = "",
    difference: Annotated[
        float | None,
        typer.Option(
            metavar="D",
            help="Difference to show, in percentage points of a share; the one seen by default.",
            show_default=False,
        ),
    ] = None,
    power: Annotated[float, typer.Option(metavar="P", help="How often the test shall find it.")] = 0.8,
    where: Where = "",
    form: Format = "",
    output: TableFile = None,
    as_json: Json = False,
) -> None:
    """Say how many seeds it takes to see a difference, and which difference the seeds so far can show."""
    from lop_tui.commands.power import Request, show_power

    request = Request(runs_dir, groups, metric, difference, power, where, form, output, as_json)
    raise typer.Exit(show_power(request))


@app.command(epilog="Example: [b]lop check --runs-dir runs/demo[/b]", rich_help_panel="Results")
def check(
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Hold runs of the paper's protocol, or the demo's, against what is claimed of it.

    Exit status 0: all that could be judged is reproduced; 1: something is not; 3: nothing could be judged.
    """
    from lop_tui.commands.check import check_runs

    raise typer.Exit(check_runs(runs_dir, where, as_json))


@app.command(epilog="Example: [b]lop report --runs-dir runs/demo -o report.html[/b]", rich_help_panel="Results")
def report(
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="By default report.html beside the runs; a file of that name is replaced.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.", show_default=False)] = "",
    where: Where = "",
    baseline: Annotated[
        str, typer.Option(metavar="METHOD", help="What the others are compared with; bp if it is there.")
    ] = "",
    select_seeds: SelectSeeds = "",
) -> None:
    """Write one web page with what ran, figures, comparisons, and how to run it again."""
    from lop_tui.commands.report import Request, report_runs

    raise typer.Exit(report_runs(Request(runs_dir, output, title, where, baseline, select_seeds)))


@app.command(epilog="Example: [b]lop export --format csv -o results.csv[/b]", rich_help_panel="Results")
def export(
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="csv, npz, parquet, pickle (the reference's files) or tensorboard."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="PATH", help="A file; a directory for pickle and tensorboard.")
    ],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    epochs: Annotated[
        bool, typer.Option("--epochs", help="Every epoch, too; csv and parquet put them into PATH_epochs.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Write the records in a form that other programs read."""
    from lop_tui.commands.export import Request
    from lop_tui.commands.export import export as export_records

    raise typer.Exit(export_records(Request(runs_dir, form, output, where, epochs, force)))


@app.command(
    "import-results", epilog="Example: [b]lop import-results old/cbp --cfg cfg/cbp.json[/b]", rich_help_panel="Results"
)
def import_results(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The reference's results: DIR/SETTING/SEED or DIR/NAME/SETTING/SEED.")
    ],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    configs: Annotated[
        list[Path] | None,
        typer.Option("--cfg", metavar="CFG", help="The experiment file they were made with; repeatable."),
    ] = None,
) -> None:
    """Take the reference's results (pickles) among the runs, to be looked at beside new ones."""
    from lop_tui.commands.import_results import bring_in

    raise typer.Exit(bring_in(directory, runs_dir, configs or []))


@app.command(epilog="Example: [b]lop merge laptop/runs cluster/runs --to runs[/b]", rich_help_panel="Results")
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="A B...", help="Directories of runs.", show_default=False)],
    target: Annotated[Path, typer.Option("--to", metavar="C", help="Where they are copied; may hold runs already.")],
) -> None:
    """Copy the runs of several directories into one; seeds that are there twice or do not fit are refused."""
    from lop_tui.commands.merge import merge as merge_directories

    raise typer.Exit(merge_directories(sources, target))


@app.command("list", epilog="Example: [b]lop list --where method:cbp[/b]", rich_help_panel="Look")
def list_settings(
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """List experiments and settings, a line for all seeds of one; lop status lists single runs."""
    from lop_tui.commands.list import show_list

    raise typer.Exit(show_list(runs_dir, where, as_json))


@app.command(epilog="Example: [b]lop diff bp cbp[/b]", rich_help_panel="Look")
def diff(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A B...]", help="Experiments or settings; all by default."),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    form: Format = "",
    output: TableFile = None,
    as_json: Json = False,
) -> None:
    """Show the keys of the configuration in which settings differ, and nothing else."""
    from lop_tui.commands.diff import Request, show_difference

    raise typer.Exit(show_difference(Request(runs_dir, settings or [], where, form, output, as_json)))


@app.command(epilog="Example: [b]lop show cbp/default/3[/b]", rich_help_panel="Look")
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: experiment/setting/seed, or less if that is one.")],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Show one run: configuration, versions, progress, the course of each metric, its last tasks."""
    from lop_tui.commands.show import show_run

    raise typer.Exit(show_run(runs_dir, run, as_json))
