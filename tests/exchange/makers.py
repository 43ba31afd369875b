"""Results in the reference's format, and their import."""

from pathlib import Path

from lop_engine.exchange import find_results, import_results
from lop_engine.runs.directory import RunDir

TASKS, EPOCHS = 12, 3


def bring_in(directory: Path, runs_dir: Path, *configs: Path) -> list[RunDir]:
    return [one.run_dir for one in import_results(find_results(directory, configs), runs_dir)]
