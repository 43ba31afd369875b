"""One folder of image files per class, named by its WNID; the folders may be in ``train/`` (and ``val/``)."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from lop_engine.datasets.importing import pixels
from lop_engine.datasets.importing.source import Block, ImportOptions, refuse_columns
from lop_engine.errors import DataError, why

_BLOCK = 256
_VAL = ("val", "validation")
_MAX_DEPTH = 20


def recognises(path: Path) -> bool:
    return path.is_dir() and any(_classes(_train_folder(path)))


def open_source(path: Path, options: ImportOptions) -> "ImageFolder":
    if not path.is_dir():
        raise DataError(f"{path}: no folder")
    refuse_columns(path, options)
    folders = [_train_folder(path)]
    if options.with_val:
        val_folders = [path / name for name in _VAL if (path / name).is_dir()]
        if not val_folders or folders[0] == path:
            raise DataError(f"{path}: holds no train/ and val/; leave out --with-val")
        folders.append(val_folders[0])
        if not {entry.name for entry in _classes(val_folders[0])} & {entry.name for entry in _classes(folders[0])}:
            raise DataError(
                f"{val_folders[0]}: holds no folders named like those of {folders[0]}; leave out --with-val"
            )
    shape = options.shape or pixels.shape_of(_first_picture(folders[0]))
    return ImageFolder(folders, pixels.Resizer(options.resize, shape, converts_colours=options.shape is not None))


def _first_picture(folder: Path) -> Path | None:
    return next((file for entry in _classes(folder) for file in _files(entry, set())), None)


def _train_folder(path: Path) -> Path:
    return path / "train" if (path / "train").is_dir() else path


def _classes(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


class ImageFolder:
    """Classes sorted by name, and their files sorted by name."""

    format = "folder"

    def __init__(self, folders: list[Path], resizer: pixels.Resizer) -> None:
        classes = _classes(folders[0])
        if not classes:
            raise DataError(f"{folders[0]}: holds no folders, one a class")
        self._resizer, self.shape = resizer, resizer.shape
        self._names = {label: entry.name for label, entry in enumerate(classes)}
        self._parts = [[folder / entry.name for folder in folders] for entry in classes]
        self.total = len(classes)

    def names(self) -> dict[int, str]:
        return self._names

    def notes(self) -> list[str]:
        return self._resizer.notes()

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        """Decode pictures in one thread per core: Pillow releases the interpreter lock while it works."""
        with pixels.quiet(), ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as pool:
            for label, parts in enumerate(self._parts):
                pictures = (file for part in parts if part.is_dir() for file in _files(part, set()))
                files = list(islice(pictures, limit))
                if not files:
                    raise DataError(f"{parts[0]}: holds no pictures ({', '.join(pixels.SUFFIXES)})")
                for start in range(0, len(files), _BLOCK):
                    chunk = files[start : start + _BLOCK]
                    found_images = pool.map(lambda file: pixels.decode(file, str(file), self._resizer), chunk)
                    images = np.stack(list(found_images))
                    yield Block(str(parts[0]), np.full(len(images), label), images), label + 1


def _files(folder: Path, seen: set[Path], depth: int = 0) -> Iterator[Path]:
    """Yield the pictures in `folder` and its subfolders, sorted by name. Raises DataError.

    Args:
        seen: folders that were already visited, with links resolved.
    """
    here = folder.resolve()
    if here in seen:
        raise DataError(f"{folder}: links back to a folder that was already read")
    seen.add(here)
    if depth > _MAX_DEPTH:
        raise DataError(f"{folder}: lies too deep for a folder of pictures")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {why(error)}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry, seen, depth + 1)
        elif entry.suffix.lower() in pixels.SUFFIXES:
            yield entry
