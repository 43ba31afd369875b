"""Exports runs to a file or directory in another format, atomically."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from lop_engine.analysis.groups import only
from lop_engine.errors import UserError, instead
from lop_engine.exchange.files import is_export, write_csv, write_events, write_npz, write_parquet
from lop_engine.exchange.reference import write_pickles
from lop_engine.exchange.tables import tasks_recorded
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.files import name_file, resolved
from lop_engine.runs.directory import find_runs
from lop_engine.runs.views import RunView

#: File in every directory that an export made; no other directory is ever replaced.
MARK = ".lop-export"

_BESIDE = ".export."
"""Prefix of the temporary names of exports."""


def refuse_existing(path: Path, is_directory: bool, force: bool, is_export: Callable[[Path], bool]) -> None:
    """Raise UserError if `path` exists, unless `force` and it is an earlier export.

    Args:
        is_export: recognises an export's file; a directory is recognised by its `MARK`.
    """
    if path.is_symlink():
        raise UserError(f"export: {path}: is a link; name the place itself")
    if not path.exists():
        return
    if not (path.is_dir() if is_directory else path.is_file()):
        what = "a directory" if is_directory else "a file"
        raise UserError(f"export: {path}: should be {what}, but is not; choose another -o")
    if not force:
        raise UserError(f"export: {path}: exists; replace it with --force, or choose another -o")
    ours = (path / MARK).is_file() or not any(path.iterdir()) if is_directory else is_export(path)
    if not ours:
        raise UserError(f"export: {path}: not an earlier export; remove it by hand, or choose another -o")


def refuse_run_directories(path: Path, runs_dir: Path) -> None:
    """Raise UserError if `path` is among the records of a setting, or contains some."""
    place = resolved(path)
    for setting in {resolved(run_dir.path.parent) for run_dir in find_runs(runs_dir)}:
        if place.is_relative_to(setting) or setting.is_relative_to(place):
            raise UserError(f"export: {path}: is inside the records of runs ({setting}); choose another -o")


@contextmanager
def appearing(path: Path, is_directory: bool) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed to it when everything is written.

    After an error the old content is restored. Raises OSError, which names `path`.
    """
    parent = path.absolute().parent
    made = missing_above(path)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=parent, prefix=_BESIDE) as beside:
            new, old = Path(beside, "new"), Path(beside, "old")
            if is_directory:
                new.mkdir()
                (new / MARK).touch()
            yield new
            _take_place(new, path, old)
    except BaseException as error:
        remove_empty(made)
        if isinstance(error, OSError) and _is_internal(error.filename, parent):
            name_file(error, path)  # the name that the user gave
        raise


def _take_place(new: Path, path: Path, old: Path) -> None:
    """Rename `new` to `path`; a directory there, which cannot be replaced atomically, is first renamed to `old`."""
    try:
        if path.is_dir():
            path.rename(old)
        os.replace(new, path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)


def _is_internal(name: object, parent: Path) -> bool:
    """Whether an error names no file (as on a full disk), or a temporary one."""
    return name is None or str(name).startswith(str(parent / _BESIDE))


def missing_above(path: Path) -> list[Path]:
    """Return the directories above `path` that do not exist yet, the innermost first."""
    return [parent for parent in path.absolute().parents if not parent.exists()]


def remove_empty(directories: Sequence[Path]) -> None:
    """Remove those of `directories` that are empty, the innermost first."""
    with suppress(OSError):
        for directory in filter(Path.exists, directories):
            directory.rmdir()


FORMATS = ("csv", "npz", "parquet", "pickle", "tensorboard")

_Write = Callable[[Path], None]


@dataclass(frozen=True)
class Exported:
    """Result of an export."""

    paths: tuple[Path, ...]
    unfinished: tuple[RunView, ...]
    """Unfinished runs: their missing values are NaN, or missing rows."""
    left_out: tuple[RunView, ...]
    """Runs that cannot be read, or have recorded nothing."""


def export_runs(runs: Sequence[RunView], form: str, path: Path, epochs: bool = False, force: bool = False) -> Exported:
    """Write `runs` in the format `form`, one of `FORMATS`, to `path`.

    Args:
        epochs: include the epochs. csv and parquet write them to a second file, ``<name>_epochs.<suffix>``; a pickle
            always contains them.
        force: replace an earlier export of this format.
    Raises:
        UserError: unknown format, a package it needs is missing, nothing to export, the target exists already, or
            lies among the records.
        OSError: the target cannot be written.
    """
    if form not in FORMATS:
        raise UserError(f'export: --format "{form}"{instead(form, FORMATS)}')
    readable = [run for run in runs if not run.problem and tasks_recorded(run)]
    if not readable:
        raise UserError("export: none of these runs has finished a task yet: nothing to export")
    if form == "pickle":
        _refuse_other_problems(readable)
    if path.name in ("", ".."):
        raise UserError(f"export: {path}: not a valid file name; choose another -o")
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
    """Refuse runs of other problems: the reference's files hold the metrics of its own problem."""
    own = CONTINUAL_IMAGENET
    if other := next((run for run in runs if run.problem_name != own.name), None):
        has_own = any(run.problem_name == own.name for run in runs)
        raise UserError(
            f"export: {other.dir.name}: pickle is the form of {own.title}, not of problem {other.problem_name}; "
            "choose csv, npz or parquet" + (f', or --where "{only(own.name)}"' if has_own else "")
        )


def _targets(runs: Sequence[RunView], form: str, path: Path, epochs: bool) -> dict[Path, _Write]:
    """Return what is written to each path."""
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
