"""Where an export goes: what it may replace there, and how it appears in one step."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from lop_engine.errors import UserError
from lop_engine.files import name_file
from lop_engine.runs.directory import find_runs

#: Lies in every directory that an export made: no other one is ever replaced.
MARK = ".lop-export"

_BESIDE = ".export."
"""How the names of the places begin in which exports are written."""


def refuse_existing(path: Path, is_directory: bool, force: bool, is_export: Callable[[Path], bool]) -> None:
    """Raise UserError unless nothing stands at `path`, or with `force` an earlier export.

    Args:
        is_export: tells an export's file from others; a directory is told by its `MARK`.
    """
    if path.is_symlink():
        raise UserError(f"export: {path}: is a link; name the place itself")
    if not path.exists():
        return
    if not (path.is_dir() if is_directory else path.is_file()):
        what = "a directory" if is_directory else "a file"
        raise UserError(f"export: {path}: should be {what}, and is not; choose another -o")
    if not force:
        raise UserError(f"export: {path}: stands there already; --force replaces it, or choose another -o")
    ours = (path / MARK).is_file() or not any(path.iterdir()) if is_directory else is_export(path)
    if not ours:
        raise UserError(f"export: {path}: is no earlier export, so it is not replaced; remove it by hand")


def refuse_run_directories(path: Path, runs_dir: Path) -> None:
    """Raise UserError if `path` lies among the records of a setting, or holds some."""
    place = path.resolve()
    for setting in {run_dir.path.parent.resolve() for run_dir in find_runs(runs_dir)}:
        if place.is_relative_to(setting) or setting.is_relative_to(place):
            raise UserError(f"export: {path}: is a place of records of runs ({setting}); choose another -o")


@contextmanager
def appearing(path: Path, is_directory: bool) -> Iterator[Path]:
    """A temporary place beside `path`, which takes its name when all is written.

    If that fails, what stood there before stands there again. Raises OSError, which names `path`.
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
    """Rename `new` to `path`; a directory there, which cannot be replaced in one step, is first renamed to `old`."""
    try:
        if path.is_dir():
            path.rename(old)
        os.replace(new, path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)


def _is_internal(name: object, parent: Path) -> bool:
    """Whether an error names no file (as on a full disk), or one that is seen only while the export is written."""
    return name is None or str(name).startswith(str(parent / _BESIDE))


def missing_above(path: Path) -> list[Path]:
    """The directories above `path` that are still to be made, the innermost first."""
    return [parent for parent in path.absolute().parents if not parent.exists()]


def remove_empty(directories: Sequence[Path]) -> None:
    """Remove those of `directories`, the innermost first, that nobody has put anything into."""
    with suppress(OSError):
        for directory in filter(Path.exists, directories):
            directory.rmdir()
