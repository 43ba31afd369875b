"""`lop import-results`: the reference's result files beside our own runs."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lop_engine.exchange import Imported, find_results, import_results
from lop_tui.commands.console import Console, in_runs_dir, plural, say


def bring_in(directory: Path, runs_dir: Path, configs: Sequence[Path]) -> int:
    """Make runs of all results under `directory` and say which. Raises UserError."""
    console = Console()
    files = find_results(directory, configs)
    by_setting: dict[tuple[str, str], list[Imported]] = defaultdict(list)
    for one in import_results(files, runs_dir):
        by_setting[one.run_dir.experiment, one.run_dir.setting].append(one)
    for (experiment, setting), runs in by_setting.items():
        tasks = sorted({one.tasks_done for one in runs})
        span = f"{tasks[0]}" if len(tasks) == 1 else f"{tasks[0]} to {tasks[-1]}"
        say(console, f"{experiment}/{setting}: {plural(len(runs), 'run')}, {span} of {runs[0].num_tasks} tasks")
    unknown = dict.fromkeys(key for runs in by_setting.values() for one in runs for key in one.unknown_keys)
    if unknown:
        say(console, f"passed over, not known here: {', '.join(unknown)}")
    bare = dict.fromkeys(file.experiment for file in files if file.spec is None)
    if bare:
        say(console, f"configuration unknown: {', '.join(bare)}; give the experiment file with --cfg to have it, too")
    say(console, f"in {runs_dir}: they can be looked at, not resumed; see them: lop list{in_runs_dir(runs_dir)}")
    return 0
