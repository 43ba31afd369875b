"""`lop plot`: draws figures of runs."""

from pathlib import Path
from typing import Annotated

import typer

from lop_engine.errors import UserError
from lop_tui.commands.app import app
from lop_tui.commands.options import (
    CARRY,
    DEFAULT_RUNS_DIRS,
    BinSize,
    EndedByRule,
    RunsDirs,
    SelectSeeds,
    Where,
    output,
)


@app.command(
    epilog="Example: [b]lop plot test_accuracy --runs-dir runs/demo -o demo.png[/b]", rich_help_panel="Results"
)
def plot(
    metrics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[METRIC]...",
            help="One panel per metric; by default the problem's headline; all: every metric that it records. For a "
            "sweep, also the name or file of its experiment.",
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="tasks (a line per setting), sweep (the settings of one experiment), panels (one for each value of a "
            "key), methods (a line per method, its best setting), sensitivity (over a swept key), grid (over two), "
            "metrics (all that the problem records), seeds (each by itself) or within-task (over epochs).",
        ),
    ] = "tasks",
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    path: Annotated[Path | None, output("PNG, SVG or PDF; a file of that name is replaced.")] = None,
    bin_size: BinSize = None,
    title: Annotated[str, typer.Option(help="Title of the figure.", show_default=False)] = "",
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    tasks: Annotated[
        str,
        typer.Option(metavar="A-B", help="Draw only these tasks; A- and -B leave one end open.", show_default=False),
    ] = "",
    band: Annotated[
        str,
        typer.Option(metavar="BAND", help="se (standard error), sd (standard deviation), ci95 (Student's t) or none."),
    ] = "se",
    heatmap: Annotated[
        bool, typer.Option("--heatmap", help="With --kind seeds: one row per seed instead of lines.")
    ] = False,
    at: Annotated[
        str,
        typer.Option(
            metavar="TASK,...",
            help="With --kind within-task: tasks to draw; an early, a middle and a late one by default.",
            show_default=False,
        ),
    ] = "",
    over: Annotated[
        str,
        typer.Option(
            metavar="KEY,...",
            help="With --kind panels, sensitivity or grid: the swept key or keys; by default all, if their number "
            "fits. Panels also take agent.",
            show_default=False,
        ),
    ] = "",
    select_seeds: SelectSeeds = "",
    reference: Annotated[
        bool, typer.Option("--reference", help="Show the paper's levels if the runs follow its protocol.")
    ] = False,
    style: Annotated[str, typer.Option(metavar="STYLE", help="paper, or screen for talks.")] = "paper",
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height in inches.", show_default=False)] = "",
    dpi: Annotated[int | None, typer.Option(help="Resolution of a PNG.", show_default=False)] = None,
    log: Annotated[
        bool | None,
        typer.Option(
            "--log/--no-log", help="Log scale; by default for curvature and gradient norm.", show_default=False
        ),
    ] = None,
) -> int:
    """Draw runs as a figure: a metric over tasks, mean over seeds and a band (docs/figures.md)."""
    from lop_tui.commands import plot_options

    plot_options.check_of_kind(kind, heatmap, over, at)
    plot_options.one_of("--style", style, plot_options.STYLES)
    shown_band, inches = plot_options.band_of(band), plot_options.inches_of(size, dpi)
    span, within = plot_options.task_range(tasks), plot_options.task_list(at)

    from lop_tui.commands import plot_drawing  # importing matplotlib takes long
    from lop_tui.figures import FORMATS, Look, save
    from lop_tui.words.best import seeds_of
    from lop_tui.words.console import Console, say

    select = seeds_of("plot", select_seeds)
    plan = plot_drawing.planned(runs_dirs, where, kind, metrics or [], select, ended_by_rule)
    path = path or runs_dirs[0] / f"{plot_drawing.stem(kind, plan.metrics)}.png"
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"plot: {path}: choose one of {', '.join(FORMATS)}")
    look = Look(bin_size, span, log, shown_band, style, inches, dpi, title, reference, plan.colours)
    figure = plot_drawing.drawn(plan, look, heatmap, within, over)
    plot_drawing.refuse_endless(figure, path, look)
    remarks = save(figure, path, look)
    console = Console()
    for note in plan.notes:
        say(console, note)
    for remark in remarks:
        say(Console(stderr=True), remark)
    say(console, f"figure: {path}")
    return 0
