"""Parquet shards with an image column and a label column, as dataset hubs distribute them. Needs the extra parquet."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.datasets.base import IMAGE_SHAPE, SHAPES, Shape
from lop_engine.datasets.importing import pixels
from lop_engine.datasets.importing.source import Block, ImportOptions
from lop_engine.errors import DataError
from lop_engine.extras import install_hint
from lop_engine.files import require_regular

_IMAGE_NAMES = ("image", "img", "images", "data", "picture")
_LABEL_NAMES = ("label", "labels", "wnid", "class", "fine_label", "target", "y")
_VAL = re.compile(r"(val|validation|valid)[^a-z].*", re.IGNORECASE)
_TEST = re.compile(r"test[^a-z].*", re.IGNORECASE)
_BLOCK = 256
_BUFFER = 2**20
_MAX_RATIO, _MIN_BOMB = 100, 64 * 2**20
_PIXELS = int(np.prod(IMAGE_SHAPE))


def recognises(path: Path) -> bool:
    return bool(_shards(path))


def open_source(path: Path, options: ImportOptions) -> "Shards":
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise DataError(f"{path}: parquet needs the package pyarrow: {install_hint('parquet')}") from None
    shards = _shards(path)
    chosen = [shard for shard in shards if not _VAL.fullmatch(shard.name) and not _TEST.fullmatch(shard.name)]
    if options.with_val:
        val = [shard for shard in shards if _VAL.fullmatch(shard.name)]
        if not val:
            raise DataError(f"{path}: holds no validation shards; leave out --with-val")
        chosen += val
    if not chosen:
        raise DataError(f"{path}: holds no training shards (*.parquet)")
    opened = Shards(chosen, [shard for shard in shards if shard not in chosen], options)
    if options.names and opened.has_names:
        raise DataError(f"{path}: the labels are names already; leave out --names")
    return opened


def _shards(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix.lower() == ".parquet" else []
    return sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")])


class Shards:
    """A sequence of shards; a label is a number, or a name (a WNID)."""

    format = "parquet"

    def __init__(self, paths: list[Path], left_out: list[Path], options: ImportOptions) -> None:
        """`left_out` are the shards of other splits."""
        self._left_out = left_out
        self._shards = [_Shard(path, options) for path in paths]
        self.shape = options.shape or _shape_of(next((shard.first_image() for shard in self._shards), None))
        self._resizer = pixels.Resizer(options.resize, self.shape, converts_colours=options.shape is not None)
        self.total = sum(shard.num_rows for shard in self._shards)
        self._names: dict[int, str] = {}
        self._labels: dict[str, int] = {}
        for shard in self._shards:
            if shard.label_kind is not self._shards[0].label_kind:
                raise DataError(f"{shard.path}: labels of another kind than in {self._shards[0].path}")
            if self._names and shard.label_names and self._names != dict(enumerate(shard.label_names)):
                raise DataError(f"{shard.path}: its labels have other names than those of the shards before it")
            self._names = self._names or dict(enumerate(shard.label_names))
        self.has_names = self._shards[0].label_kind is str

    def names(self) -> dict[int, str]:
        return self._names | {label: name for name, label in self._labels.items()}

    def notes(self) -> list[str]:
        first = self._shards[0]
        notes = self._resizer.notes()
        if first.other_columns:
            others = ", ".join(first.other_columns)
            notes.append(
                f"images from column {first.image}, labels from column {first.label} (there are also {others})"
            )
        if self._left_out:
            count = f"{len(self._left_out)} shard{'s' * (len(self._left_out) != 1)}"
            notes.append(f"{count} of validation or test left out ({self._left_out[0].name}{_more(self._left_out)})")
        return notes

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        done = 0
        counts: dict[int, int] = {}
        with pixels.quiet():
            for shard in self._shards:
                for row, images, labels in shard.rows():
                    keep = []
                    for place, label in enumerate(map(self._number, labels)):
                        counts[label] = counts.get(label, 0) + 1
                        if counts[label] <= limit:
                            where = f"{shard.path}, row {row + place}"
                            keep.append((label, _pixels(images[place].as_py(), where, self._resizer)))
                    done += len(labels)
                    if keep:
                        kept_labels, kept_images = zip(*keep, strict=True)
                        block = Block(str(shard.path), np.array(kept_labels, np.int64), np.stack(kept_images))
                        yield block, done

    def _number(self, label: int | str) -> int:
        """Return a label as a number; names are numbered in order of appearance."""
        return label if isinstance(label, int) else self._labels.setdefault(label, len(self._labels))


class _Shard:
    """One file."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path = path
        self.repeated: list[str] = []
        with _blamed(path):
            require_regular(path)
            file = self._open()
            self.num_rows = file.metadata.num_rows
            schema = file.schema_arrow
            self.image = self._column(schema.names, _IMAGE_NAMES, "images", options.images_from)
            self.label = self._column(schema.names, _LABEL_NAMES, "labels", options.labels_from)
            self.other_columns = [name for name in schema.names if name not in (self.image, self.label)]
            self.label_kind: type = int if "int" in str(schema.field(self.label).type).split("<")[0] else str
            self.repeated = _binary_leaves(schema.field(self.image))
            self.label_names = _label_names(schema.metadata or {}, self.label)
            for group in range(file.metadata.num_row_groups):
                self._refuse_bomb(file.metadata.row_group(group))

    def rows(self) -> Iterator[tuple[int, Any, list[Any]]]:
        """Yield the number of the first row, and images and labels, of some rows at a time."""
        start = 0
        with _blamed(self.path):
            for batch in self._open().iter_batches(_BLOCK, columns=[self.image, self.label], use_threads=False):
                labels = batch.column(self.label).to_pylist()
                for place, label in enumerate(labels):
                    if type(label) is not self.label_kind or (type(label) is int and not 0 <= label < 2**31):
                        raise DataError(f"{self.path}, row {start + place}: no label: {ascii(label)[:40]}")
                yield start, batch.column(self.image), labels
                start += len(labels)

    def first_image(self) -> Any:
        """Return the cell of the first image, or None."""
        with _blamed(self.path):
            for batch in self._open().iter_batches(1, columns=[self.image], use_threads=False):
                return batch.column(0)[0].as_py()
        return None

    def _open(self) -> Any:
        import pyarrow.parquet

        # Repeated bytes are read once: repeated they might exhaust the memory.
        return pyarrow.parquet.ParquetFile(
            self.path, buffer_size=_BUFFER, pre_buffer=False, memory_map=False, read_dictionary=self.repeated
        )

    def _column(self, there: list[str], known: tuple[str, ...], what: str, chosen: str | None) -> str:
        """Return the chosen column, or the only one with a known name. Raises DataError listing the columns."""
        columns = ", ".join(there)
        if chosen is not None and chosen not in there:
            raise DataError(f'{self.path}: --{what} "{chosen}": no such column (there are {columns})')
        candidates = [chosen] if chosen is not None else [name for name in known if name in there]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise DataError(f"{self.path}: {what} in column {' or '.join(candidates)}? Choose one with --{what}")
        raise DataError(f"{self.path}: no known column of {what} (there are {columns}); name one with --{what}")

    def _refuse_bomb(self, group: Any) -> None:
        for index in range(group.num_columns):
            column = group.column(index)
            if column.num_values > _PIXELS * group.num_rows:
                raise DataError(f"{self.path}: {column.num_values} values in {group.num_rows} rows: no images")
            full, packed = column.total_uncompressed_size, column.total_compressed_size
            if full > max(_MIN_BOMB, _MAX_RATIO * packed):
                raise DataError(f"{self.path}: a column would grow from {packed} to {full} bytes, so it is refused")


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Context that turns any error into one that names the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # whatever a decoder raises for damaged bytes: the file is at fault
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(f"{path}: not a whole parquet file of images: {reason}") from None


def _binary_leaves(field: Any) -> list[str]:
    """Return the parts of an image column that hold bytes, by parquet's names."""
    if "binary" in str(field.type) and "<" not in str(field.type):
        return [field.name]
    if str(field.type).startswith("struct"):
        return [f"{field.name}.{part.name}" for part in field.type if "binary" in str(part.type)]
    return []


def _label_names(metadata: dict[bytes, bytes], column: str) -> list[str]:
    """Return the class names that dataset hubs store beside the columns."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _more(names: list[Path]) -> str:
    return ", ..." if len(names) > 1 else ""


def _shape_of(cell: Any) -> Shape:
    """Return the shape of the images that are made from cells like this one."""
    cell = _content(cell)
    if isinstance(cell, list):
        return next((shape for shape in SHAPES if math.prod(shape) == len(cell)), IMAGE_SHAPE)
    return pixels.shape_of(cell if isinstance(cell, bytes) else None)


def _content(cell: Any) -> Any:
    return cell.get("bytes") if isinstance(cell, dict) else cell


def _pixels(cell: Any, where: str, resizer: pixels.Resizer) -> np.ndarray:
    """Return a cell's image: from encoded bytes, a record with bytes, or a list of numbers."""
    cell, num_pixels = _content(cell), math.prod(resizer.shape)
    if isinstance(cell, bytes):
        return pixels.decode(cell, where, resizer)
    if isinstance(cell, list) and len(cell) == num_pixels:
        values = np.array(cell)
        if values.dtype.kind in "ui" and values.min() >= 0 and values.max() <= 255:
            return values.astype(np.uint8).reshape(resizer.shape)
        if values.dtype.kind == "f":
            return values.astype(np.float32).reshape(resizer.shape)
    raise DataError(f"{where}: no image: neither encoded bytes nor {num_pixels} numbers")
