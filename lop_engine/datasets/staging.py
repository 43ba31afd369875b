"""Copies a data set to a node's own disk, once per node, which relieves the file server.

A copy is renamed when it is complete, and processes that need the same one wait for each other. So a copy with the
final name is complete, even if tasks are killed; the next task removes what a killed one leaves.
"""

import getpass
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lop_engine.datasets import open_images
from lop_engine.datasets.class_folder import NAME, ClassFolder
from lop_engine.errors import DataError, sentence
from lop_engine.experiment.spec import Spec
from lop_engine.files import resolved
from lop_engine.text import byte_size

RESERVE_BYTES = 2**30
"""Bytes left free on the node's disk."""
PATIENCE_S = 15 * 60
"""Longest wait for another process's copy."""


@dataclass(frozen=True)
class _File:
    """A file of a data set: its path, and its place in the copy."""

    source: Path
    place: str
    size: int
    mtime_ns: int


def expand(directory: str) -> Path:
    """Expand variables and ~ of this machine in `directory`. Raises DataError if the result is not an absolute path."""
    unset = [name for name in re.findall(r"\$\{?(\w+)", directory) if not os.environ.get(name)]
    if unset:
        raise DataError(f"{directory}: {unset[0]} is not set here")
    path = Path(os.path.expanduser(os.path.expandvars(directory)))
    if not path.is_absolute():
        raise DataError(f"{directory}: is {path} here, which is not an absolute path")
    return path


def stage(
    images: ClassFolder,
    into: Path,
    should_stop: Callable[[], bool] = lambda: False,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Copy `images` below `into`, unless they are already there; return the copy's folder.

    Args:
        should_stop: called between files and while waiting for another process's copy.
    Raises:
        DataError: the copy failed: no space, a disk error, or `should_stop`. No incomplete copy is left.
    """
    try:
        files = list(_files(images))
        folder = resolved(images.path)
        name = folder.parent.name if folder.name == "classes" else folder.name
        target = _own_folder(into) / f"{name}-{_key(images, files)}"
        with _alone(target, should_stop):
            if _is_whole(target, files):
                report(f"images: those in {target}")
            else:
                began = time.monotonic()
                _copy(files, target, should_stop)
                size = sum(file.size for file in files)
                report(f"images: copied {byte_size(size)} to {target} in {time.monotonic() - began:.1f} s")
    except OSError as error:
        raise DataError(f"{sentence(error, into)}") from None
    except ValueError as error:  # not a valid name
        raise DataError(f"{into}: {error}") from None
    return target


def reading(spec: Spec, copy: Path) -> Spec:
    """Return `spec` with its images read from `copy`. Raises DataError if those differ or are incomplete."""
    copied = spec.with_changes(**{"dataset": str(copy)})
    images = open_images(copied, every_file=False)
    # Without a checksum nothing else shows that the last classes are missing, which would change tasks.
    if not spec.dataset_sha256 and images.num_classes != open_images(spec, every_file=False).num_classes:
        raise DataError(f"{copy}: {images.num_classes} classes are left")
    return copied


def _files(images: ClassFolder) -> Iterator[_File]:
    sources = [(images.file(index), f"classes/{index}.npy") for index in range(images.num_classes)]
    if images.manifest:
        sources.append((images.path.parent / NAME, NAME))
    for source, place in sources:
        status = os.stat(source)
        yield _File(source, place, status.st_size, status.st_mtime_ns)


def _key(images: ClassFolder, files: Sequence[_File]) -> str:
    """Return a key of the images; without a checksum, of the path, sizes and times of their files."""
    if images.sha256:
        return images.sha256[:16]
    looks = [f"{file.place} {file.size} {file.mtime_ns}" for file in files]
    text = "\n".join([str(resolved(images.path)), *looks])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _own_folder(into: Path) -> Path:
    """Return ``lop-<user>`` below `into`, writable only for this user: in a shared folder others could add images."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without user names
        user = str(os.getuid())
    folder = into / f"lop-{user}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise DataError(f"{folder}: is another user's")
    return folder


@contextmanager
def _alone(target: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of one copy on this node. The system releases it when the process ends."""
    lock = FileLock(target.with_name(f"{target.name}.lock"), fallback_to_soft=False)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if should_stop():
                raise DataError(f"{target}: the job ends") from None
            if time.monotonic() > deadline:
                minutes = PATIENCE_S // 60
                raise DataError(f"{target}: another task has been copying for {minutes} minutes") from None
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.release()


def _is_whole(target: Path, files: Sequence[_File]) -> bool:
    """Whether every file exists, with its size: a node's disk may be cleaned by age, file by file."""
    try:
        return all(os.stat(target / file.place).st_size == file.size for file in files)
    except OSError:
        return False


def _copy(files: Sequence[_File], target: Path, should_stop: Callable[[], bool]) -> None:
    temporary = target.with_name(f".{target.name}.copying")
    shutil.rmtree(temporary, ignore_errors=True)
    if target.exists():
        target.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)
    _require_room(files, target.parent)
    try:
        (temporary / "classes").mkdir(parents=True)
        for file in files:
            if should_stop():
                raise DataError(f"{target}: the job ends")
            copy_file(file, temporary / file.place)
        temporary.rename(target)
    except BaseException:  # also submitit's, which ends a job that is requeued within a signal handler
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _require_room(files: Sequence[_File], folder: Path) -> None:
    needed, free = sum(file.size for file in files), shutil.disk_usage(folder).free
    if free < needed + RESERVE_BYTES:
        raise DataError(
            f"{folder}: {byte_size(free)} free, {byte_size(needed)} of images and a reserve of "
            f"{byte_size(RESERVE_BYTES)} are needed"
        )


def copy_file(file: _File, copy: Path) -> None:
    with open(file.source, "rb") as source, open(copy, "wb") as written:
        shutil.copyfileobj(source, written, 2**20)
        written.flush()
        os.fsync(written.fileno())  # after a power failure, a renamed file may lack its content
    if copy.stat().st_size != file.size:
        raise DataError(f"{file.source}: has changed while it was copied")
