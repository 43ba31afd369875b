"""What is made of the records of runs: options and help."""

from pathlib import Path
from typing import Annotated

import typer

from lop_tui.cli_options import DEFAULT_RUNS_DIR, RunsDir, Where

app = typer.Typer(rich_markup_mode="rich")


@app.command(epilog="Example: [b]lop plot test_accuracy --runs-dir runs/demo -o demo.png[/b]")
def plot(
    metrics: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METRIC]...", help="A panel each; test_accuracy by default, all for the seven."),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="PNG, SVG or PDF.", show_default=False)
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
    log: Annotated[
        bool | None,
        typer.Option(
            "--log/--no-log", help="Log scale; by default for curvature and gradient norm.", show_default=False
        ),
    ] = None,
) -> None:
    """Draw metrics over tasks: mean over seeds and a band of one standard error."""
    from lop_tui.commands.plot import Request, plot_runs

    request = Request(runs_dir, metrics or ["test_accuracy"], output, bin_size, title, where, tasks, log)
    raise typer.Exit(plot_runs(request))
