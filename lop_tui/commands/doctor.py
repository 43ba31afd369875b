"""`lop doctor`: checks the installation and the runs."""

from typing import Annotated

import typer

from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIR, RunsDir

_STYLES = {"ok": "green", "note": "yellow", "wrong": "red"}


@app.command(epilog="Example: [b]lop doctor --repair[/b]", rich_help_panel="Set up")
def doctor(
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Rewrite damaged record files with the documents that are intact; keep a copy of the old file.",
        ),
    ] = False,
) -> int:
    """Check installation, devices, disk, images and every run directory. Exit status 1 if anything is wrong."""
    from lop_engine.machine.doctor import Finding, examine_machine, examine_runs
    from lop_tui.words.console import Console, plural, say

    console = Console()

    def tell(finding: Finding) -> None:
        console.print(f"{finding.level:5}", style=_STYLES[finding.level], end=" ")
        say(console, f"{finding.subject}: {finding.what}")

    wrong = sound = 0
    for finding in examine_machine(runs_dir):
        wrong += finding.level == "wrong"
        tell(finding)
    for finding in examine_runs(runs_dir, repair):
        wrong += finding.level == "wrong"
        sound += finding.level == "ok"
        if finding.level != "ok":
            tell(finding)
    if sound:
        tell(Finding("ok", "runs", f"{plural(sound, 'run')} in {runs_dir}: no errors found"))
    return 1 if wrong else 0
