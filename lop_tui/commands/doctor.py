"""`lop doctor`: is everything as it should be?"""

from pathlib import Path

from lop_engine.machine.doctor import Finding, examine_machine, examine_runs
from lop_tui.commands.console import Console, plural, say

_STYLES = {"ok": "green", "note": "yellow", "wrong": "red"}


def consult(runs_dir: Path, repair: bool) -> int:
    """Print what is found; return 1 if anything is wrong."""
    console = Console()
    wrong = sound = 0
    for finding in examine_machine(runs_dir):
        wrong += finding.level == "wrong"
        _tell(console, finding)
    for finding in examine_runs(runs_dir, repair):
        wrong += finding.level == "wrong"
        sound += finding.level == "ok"
        if finding.level != "ok":
            _tell(console, finding)
    if sound:
        _tell(console, Finding("ok", "runs", f"{plural(sound, 'run')} in {runs_dir} sound"))
    return 1 if wrong else 0


def _tell(console: Console, finding: Finding) -> None:
    console.print(f"{finding.level:5}", style=_STYLES[finding.level], end=" ")
    say(console, f"{finding.subject}: {finding.what}")
