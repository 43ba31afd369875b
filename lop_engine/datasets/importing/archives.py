"""Zip and tar archives of images, unpacked into a folder of ours.

Refuses names that lead out of the folder, links, devices, and archives that would expand too much.
"""

import re
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lop_engine.datasets.importing.batches import MAX_RATIO, MIN_BOMB, check_directory
from lop_engine.errors import DataError
from lop_engine.files import require_regular

ZIP = (".zip",)
TAR = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
_MAX_DIRECTORY = 128 * 2**20
"""Most bytes of a zip's directory: two million files."""
_MAX_HEADER = 2**20
"""Most bytes of a tar's long name or extended header."""
_PIECE = 2**20
_FILE_BYTES = 512
"""Least size counted per file: a tar needs that much for each, and compresses empty ones."""
_NOT_IMAGES = re.compile(r"__MACOSX(/|$)|(.*/)?\.[^/]*$")
"""Files that macOS adds, and hidden files."""


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ZIP + TAR) and path.is_file()


def unpack(path: Path, folder: Path) -> None:
    """Write the files of the archive `path` into the new folder `folder`.

    Raises:
        DataError: names the archive, and the member if one is at fault; files already written stay.
        OSError: `folder` cannot be written.
    """
    require_regular(path)
    left = max(MIN_BOMB, MAX_RATIO * path.stat().st_size)
    folder.mkdir()
    for name, file in _members(path):
        inner = _checked(path, name)
        if _NOT_IMAGES.match(name):
            continue
        left -= _FILE_BYTES
        with _new(path, folder / inner) as new:
            while piece := _read(path, file):
                left -= len(piece)
                if left < 0:
                    break
                new.write(piece)
        if left < 0:
            raise DataError(f"{path}: would grow to more than {MAX_RATIO} times its size, so it is refused")


def _new(path: Path, target: Path) -> IO[bytes]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return open(target, "xb")
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{path}: holds {target.name!a} twice; unpack it and import the folder") from None


def _checked(path: Path, name: str) -> PurePosixPath:
    """Return a member's name as a path below the folder. Raises DataError."""
    inner = PurePosixPath(name)
    if inner.is_absolute() or ".." in inner.parts or not inner.parts or re.search(r"[\\\0]|^[A-Za-z]:", name):
        raise DataError(f"{path}: holds {ascii(name)[:120]}, which lies outside the archive's folder; nothing was read")
    return inner


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each file. Raises DataError."""
    with _blamed(path):
        yield from _of_zip(path) if path.name.lower().endswith(ZIP) else _of_tar(path)


def _of_zip(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    check_directory(path, _MAX_DIRECTORY)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            is_link = info.create_system == 3 and (info.external_attr >> 16) & 0o170000 == 0o120000
            _refuse_special(path, info.filename, is_link)
            if not info.is_dir():
                with archive.open(info) as file:
                    yield info.filename, file


def _of_tar(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path, "r|*", tarinfo=_Header) as archive:
        for member in archive:
            _refuse_special(path, member.name, not member.isfile() and not member.isdir())
            if member.isfile():
                file = archive.extractfile(member)
                assert file, "a file has content"
                yield member.name, file
            archive.members = []  # type: ignore[attr-defined]  # it would keep all of them


def _refuse_special(path: Path, name: str, is_special: bool) -> None:
    if is_special:
        raise DataError(f"{path}: holds {ascii(name)[:120]}, a link or device; unpack it and import the folder")


class _Header(tarfile.TarInfo):
    """A tar header; extended headers are read completely into memory, so large ones are refused."""

    @classmethod
    def frombuf(cls, *arguments: Any, **named: Any) -> Any:
        header = super().frombuf(*arguments, **named)
        if not header.isreg() and header.size > _MAX_HEADER:
            raise ValueError(f"a header of {header.size} bytes")
        return header


def _read(path: Path, file: IO[bytes]) -> bytes:
    with _blamed(path):
        return file.read(_PIECE)


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Context that turns any error into one that names the archive."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # zipfile, tarfile and the decompressors raise many types for a damaged archive
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(f"{path}: not a whole archive: {reason or type(error).__name__}") from None
