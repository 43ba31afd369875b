"""From runs to a file or a directory in somebody else's form, which appears whole or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lop_engine.errors import UserError, did_you_mean
from lop_engine.exchange.event_files import write_events
from lop_engine.exchange.files import write_csv, write_npz, write_parquet
from lop_engine.exchange.reference import write_pickles
from lop_engine.exchange.tables import tasks_recorded
from lop_engine.runs import RunView

FORMATS = ("csv", "npz", "parquet", "pickle", "tensorboard")

#: Lies in every directory that an export made: nothing else is ever replaced.
MARK = ".lop-export"

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
        force: replace what an export wrote there before.
    Raises:
        UserError: no such form, a package it needs is missing, nothing to export, or the target stands there already.
        OSError: the target cannot be written.
    """
    if form not in FORMATS:
        raise UserError(f'export: --format "{form}"{did_you_mean(form, FORMATS)} (there are {", ".join(FORMATS)})')
    readable = [run for run in runs if not run.problem and tasks_recorded(run)]
    if not readable:
        raise UserError(f"export: none of these {len(runs)} runs has finished a task yet: nothing to export")
    is_directory = form in ("pickle", "tensorboard")
    targets = _targets(readable, form, path, epochs)
    for target in targets:
        _refuse_existing(target, is_directory, force)
    with ExitStack() as stack:
        for target, write in targets.items():
            write(stack.enter_context(_appearing(target, is_directory)))
    return Exported(
        tuple(targets),
        tuple(run for run in readable if tasks_recorded(run) < run.num_tasks),
        tuple(run for run in runs if run not in readable),
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


def _refuse_existing(path: Path, is_directory: bool, force: bool) -> None:
    """Raise UserError unless nothing stands at `path`, or what may be replaced."""
    if path.is_symlink() or not path.exists():
        if path.is_symlink():
            raise UserError(f"export: {path}: is a link; name the place itself")
        return
    if path.is_dir() != is_directory:
        what = "a directory" if is_directory else "a file"
        raise UserError(f"export: {path}: should be {what}, and is not; choose another -o")
    if not force:
        raise UserError(f"export: {path}: stands there already; --force replaces it, or choose another -o")
    if is_directory and not (path / MARK).is_file() and any(path.iterdir()):
        raise UserError(f"export: {path}: is no earlier export, so it is not replaced; remove it by hand")


@contextmanager
def _appearing(path: Path, is_directory: bool) -> Iterator[Path]:
    """A temporary place beside `path`, which takes its name when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    leaving = path.with_name(f".{path.name}.{os.getpid()}.removed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_directory:
            temporary.mkdir()
            (temporary / MARK).touch()
        yield temporary
        if is_directory and path.exists():
            path.rename(leaving)
        os.replace(temporary, path)
    except OSError as error:
        if str(error.filename).startswith(str(temporary)):
            error.filename, error.filename2 = str(path), None  # a person knows the place by this name
        raise
    finally:
        for rest in (temporary, leaving):
            if rest.is_dir():
                shutil.rmtree(rest)
            else:
                rest.unlink(missing_ok=True)
