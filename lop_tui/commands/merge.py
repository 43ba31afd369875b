"""`lop merge`: runs of several directories in one."""

from collections.abc import Sequence
from pathlib import Path

from lop_engine.errors import UserError
from lop_engine.exchange.merging import merge_runs
from lop_tui.commands.console import Console, in_runs_dir, plural, say


def merge(sources: Sequence[Path], target: Path) -> int:
    """Copy the runs and say how many; return 0. Raises UserError, LaunchError and OSError."""
    if not sources:
        raise UserError("merge: name the directories whose runs are to be copied: lop merge A B --to C")
    made = merge_runs(sources, target)
    console = Console()
    say(console, f"{plural(len(made), 'run')} of {', '.join(map(str, sources))} copied to {target}")
    say(console, f"see them: lop list{in_runs_dir(target)}")
    return 0
