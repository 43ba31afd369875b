"""A folder that takes its name in one step, and never at the cost of what was there."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lop_engine.datasets.manifest import NAME, Manifest
from lop_engine.errors import DataError, sentence
from lop_engine.files import sync_directory

_CLASS_FILE = re.compile(r"[0-9]+\.npy")


@contextmanager
def new_folder(target: Path, replace: bool) -> Iterator[Path]:
    """An empty folder that takes the name `target` if all goes well, and vanishes if not.

    Args:
        replace: a data set that is there gives way, in the last moment; nothing else ever does.
    Raises:
        DataError: `target` is taken, or the disk refuses.
    """
    target = _resolved(target)
    staging = target.with_name(f".{target.name}.importing")
    old = target.with_name(f".{target.name}.replaced")
    made = _missing_parents(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))
        with lock.acquire(timeout=0):
            try:
                _put_back(target, old)
                _refuse_if_taken(target, replace)
                _remove(staging)
                staging.mkdir()
                yield staging
                _refuse_if_taken(target, replace)  # somebody may have come meanwhile
                _swap(staging, target, old)
            finally:
                _remove(staging)
                if target.exists():
                    _remove(old)
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout:
        raise DataError(f"{target}: another import is writing it now") from None
    except OSError as error:
        raise DataError(f"{sentence(error, target)}; nothing was imported") from None
    finally:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()  # goes only if it is empty


def _resolved(target: Path) -> Path:
    """The place itself, links followed: a link stays a link, and what it leads to is what is replaced."""
    try:
        resolved = target.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{target}: no place for a data set: {error}") from None
    if resolved in (Path.cwd(), *Path.cwd().parents):
        raise DataError(f"{target}: the folder you stand in, or one above it; name a new one with --to DIR")
    return resolved


def _missing_parents(target: Path) -> list[Path]:
    return [parent for parent in target.parents if not parent.exists()]


def _put_back(target: Path, old: Path) -> None:
    """What an import that was killed while it swapped has left: the old data set under its other name."""
    if old.exists() and not os.path.lexists(target):
        old.rename(target)
    elif os.path.lexists(old):
        _remove(old)


def _swap(staging: Path, target: Path, old: Path) -> None:
    if not target.exists():
        staging.rename(target)
    else:
        target.rename(old)
        try:
            staging.rename(target)
        except BaseException:
            old.rename(target)
            raise
    sync_directory(target.parent)


def _refuse_if_taken(target: Path, replace: bool) -> None:
    """Only an empty folder, or with `replace` a data set, may give way: never anything else a person keeps."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    strange = _strange(target)
    if strange:
        raise DataError(f"{target}: is there already, and {strange}; name another place with --to DIR")
    if not replace:
        raise DataError(f"{target}: is there already; name another place with --to DIR, or say --replace")


def _strange(target: Path) -> str:
    """What keeps a folder from being a data set of ours and nothing else; empty if nothing does."""
    try:
        if not target.is_dir() or Manifest.read(target) is None:
            return "no data set of lop's"
    except DataError:
        return f"its {NAME} is not one of lop's"
    known = {target / NAME, target / "classes"}
    within = list((target / "classes").iterdir()) if (target / "classes").is_dir() else []
    others = [path for path in target.iterdir() if path not in known]
    others += [path for path in within if not _CLASS_FILE.fullmatch(path.name)]
    return f"holds {others[0].relative_to(target)} besides a data set" if others else ""


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, ignore_errors=True)
