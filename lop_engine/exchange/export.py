"""From runs to a file or a directory in somebody else's form, which appears whole or not at all."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lop_engine.analysis.problems import only
from lop_engine.errors import UserError, did_you_mean
from lop_engine.exchange.event_files import write_events
from lop_engine.exchange.files import is_export, write_csv, write_npz, write_parquet
from lop_engine.exchange.places import appearing, refuse_existing, refuse_run_directories
from lop_engine.exchange.reference import write_pickles
from lop_engine.exchange.tables import tasks_recorded
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.reading import RunView

FORMATS = ("csv", "npz", "parquet", "pickle", "tensorboard")

_Write = Callable[[Path], None]


@dataclass(frozen=True)
class Exported:
    """What an export has done."""

    paths: tuple[Path, ...]
    unfinished: tuple[RunView, ...]
    """Runs that have not all their tasks: what is missing is NaN, or a row that is not there."""
    left_out: tuple[RunView, ...]
    """Runs that cannot be read, or have recorded nothing."""


def export_runs(runs: Sequence[RunView], form: str, path: Path, epochs: bool = False, force: bool = False) -> Exported:
    """Write `runs` in the form `form`, one of `FORMATS`, to `path`.

    Args:
        epochs: the epochs too. csv and parquet put them into a second file, ``<name>_epochs.<suffix>``; a pickle
            always holds them.
        force: replace what an export of this form wrote there before.
    Raises:
        UserError: no such form, a package it needs is missing, nothing to export, the target stands there already, or
            lies among the records.
        OSError: the target cannot be written.
    """
    if form not in FORMATS:
        raise UserError(f'export: --format "{form}"{did_you_mean(form, FORMATS)} (there are {", ".join(FORMATS)})')
    readable = [run for run in runs if not run.problem and tasks_recorded(run)]
    if not readable:
        raise UserError("export: none of these runs has finished a task yet: nothing to export")
    if form == "pickle":
        _refuse_other_problems(readable)
    if path.name in ("", ".."):
        raise UserError(f"export: {path}: is the name of no file or directory; give -o one that is to be made")
    is_directory = form in ("pickle", "tensorboard")
    targets = _targets(readable, form, path, epochs)
    for target in targets:
        refuse_run_directories(target, readable[0].dir.path.parents[2])
        refuse_existing(target, is_directory, force, partial(is_export, form=form))
    with ExitStack() as stack:
        for target, write in targets.items():
            write(stack.enter_context(appearing(target, is_directory)))
    return Exported(
        tuple(targets),
        tuple(run for run in readable if tasks_recorded(run) < run.num_tasks),
        tuple(run for run in runs if run not in readable),
    )


def _refuse_other_problems(runs: Sequence[RunView]) -> None:
    """The reference's files hold the metrics of its own problem."""
    own = CONTINUAL_IMAGENET
    if other := next((run for run in runs if run.problem_name != own.name), None):
        has_own = any(run.problem_name == own.name for run in runs)
        raise UserError(
            f"export: {other.dir.name}: pickle is the form of {own.title}, not of problem {other.problem_name}; "
            "choose csv, npz or parquet" + (f', or --where "{only(own.name)}"' if has_own else "")
        )


def _targets(runs: Sequence[RunView], form: str, path: Path, epochs: bool) -> dict[Path, _Write]:
    """What is written, by where."""
    if form == "pickle":
        return {path: lambda place: write_pickles(runs, place)}
    if form == "tensorboard":
        return {path: lambda place: write_events(runs, place, epochs)}
    if form == "npz":
        return {path: lambda place: write_npz(runs, place, epochs)}
    write = write_csv if form == "csv" else write_parquet
    targets: dict[Path, _Write] = {path: lambda place: write(runs, place, False)}
    if epochs:
        targets[path.with_stem(f"{path.stem}_epochs")] = lambda place: write(runs, place, True)
    return targets
