"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, durable: bool = False, keep_old_as: Path | None = None) -> Iterator[BinaryIO]:
    """Write a new `path` in one step: a reader sees the old file or the new, never a part.

    Args:
        durable: the content is on the disk before it takes the name, and the name before this returns: what a
            power failure leaves is whole as well.
        keep_old_as: a name for the file that gives way. For a moment then neither has the name `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if keep_old_as and path.exists():
            os.replace(path, keep_old_as)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    if durable:
        sync_directory(path.parent)


def overwrite(path: Path, content: bytes) -> None:
    """Write over a file in its place, which takes no new room on a disk that has none. Raises OSError."""
    with open(path, "r+b") as file:
        file.write(content.ljust(os.fstat(file.fileno()).st_size))
        file.truncate()


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
