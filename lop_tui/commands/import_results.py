"""`lop import-results`: imports the reference's result files as runs."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from lop_tui.commands.app import app
from lop_tui.commands.options import DEFAULT_RUNS_DIR, RunsDir


@app.command(
    "import-results", epilog="Example: [b]lop import-results old/cbp --cfg cfg/cbp.json[/b]", rich_help_panel="Results"
)
def import_results(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="Results of the paper's code: PATH/SETTING/SEED, PATH/NAME/SETTING/SEED, or one file."
        ),
    ],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    configs: Annotated[
        list[Path] | None,
        typer.Option("--cfg", metavar="CFG", help="The experiment file that produced the results; repeatable."),
    ] = None,
) -> int:
    """Import results of the paper's code (pickles) as runs, to view beside new ones."""
    from lop_engine.exchange import Imported, find_results
    from lop_engine.exchange import import_results as import_files
    from lop_tui.words.console import Console, in_runs_dir, plural, say

    console = Console()
    files = find_results(results, configs or [])
    by_setting: dict[tuple[str, str], list[Imported]] = defaultdict(list)
    for one in import_files(files, runs_dir):
        by_setting[one.run_dir.experiment, one.run_dir.setting].append(one)
    for (experiment, setting), runs in by_setting.items():
        tasks = sorted({one.tasks_done for one in runs})
        span = f"{tasks[0]}" if len(tasks) == 1 else f"{tasks[0]} to {tasks[-1]}"
        say(console, f"{experiment}/{setting}: {plural(len(runs), 'run')}, {span} of {runs[0].num_tasks} tasks")
    unknown = dict.fromkeys(key for runs in by_setting.values() for one in runs for key in one.unknown_keys)
    if unknown:
        say(console, f"ignored, unknown: {', '.join(unknown)}")
    bare = dict.fromkeys(file.experiment for file in files if file.spec is None)
    if bare:
        say(console, f"configuration unknown: {', '.join(bare)}; add the experiment file with --cfg")
    say(console, f"in {runs_dir}; imported runs cannot be resumed. See them: lop list{in_runs_dir(runs_dir)}")
    return 0
