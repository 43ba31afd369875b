"""`lop cite`: the papers behind the components that runs used, as BibTeX."""

from typing import Annotated

import typer

from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIRS, BibFile, RunsDirs, Where


@app.command(epilog="Example: [b]lop cite cbp snr -o study.bib[/b]", rich_help_panel="Results")
def cite(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Experiments, settings or runs; all by default.", show_default=False),
    ] = None,
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    where: Where = "",
    output: BibFile = None,
) -> int:
    """Print the papers of the methods, problems, networks, optimisers and metrics that runs used, as BibTeX."""
    from lop_engine.experiment.catalogue import bibtex
    from lop_engine.files import replacing
    from lop_engine.runs.several import snapshot_of
    from lop_tui.commands.reading import read_runs, select_runs
    from lop_tui.words.citations import LOP, entry, missing_source, used_sources
    from lop_tui.words.console import Console, say

    chosen, _ = read_runs("cite", runs_dirs, where)
    used = used_sources(select_runs(snapshot_of(runs_dirs, chosen), runs or []).runs)
    entries = [entry(bibtex(source), names) for source, names in used.items() if bibtex(source)]
    text = "\n\n".join([*entries, LOP]) + "\n"
    for source, names in used.items():
        if not bibtex(source):
            say(Console(stderr=True), missing_source(source, names))
    if output is None:
        print(text, end="")
    else:
        with replacing(output) as file:
            file.write(text.encode())
    return 0
