"""The reference's format ``classes/<k>.npy``, and thus every data set of our own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lop_engine.datasets.class_folder import ClassFolder
from lop_engine.datasets.importing.source import Block, ImportOptions, refuse_columns
from lop_engine.errors import DataError

#: Images copied at a time.
_BLOCK = 1024


def recognises(path: Path) -> bool:
    return any((folder / "0.npy").exists() for folder in (path, path / "classes"))


def open_source(path: Path, options: ImportOptions) -> "ClassFiles":
    if options.with_val:
        raise DataError(f"{path}: this form has no validation images apart; leave out --with-val")
    refuse_columns(path, options)
    return ClassFiles(ClassFolder.open(path))


class ClassFiles:
    """Classes keep their numbers and names."""

    format = "npy"

    def __init__(self, folder: ClassFolder) -> None:
        self._folder, self.shape = folder, folder.shape
        self.total = folder.num_classes

    def names(self) -> dict[int, str]:
        return dict(enumerate(self._folder.class_names)) if self._folder.manifest else {}

    def notes(self) -> list[str]:
        return []

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        for index in range(self.total):
            start = 0
            for images in self._folder.blocks(index, min(_BLOCK, limit)):
                yield Block(str(self._folder.file(index)), np.full(len(images), index), images, start), index + 1
                start += len(images)
                if start >= limit:
                    break
