"""Converts images of any supported format to the local one: ``classes/<k>.npy`` and ``dataset.json``.

A source yields blocks of labelled images; a writer sorts them into one file per class; the manifest is written last,
and the complete folder is renamed atomically. An interrupted import only leaves a hidden folder,
which the next import removes.
"""

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lop_engine.datasets.base import DIRECTORIES, IMAGE_SHAPE, PAPER_SPLIT, SHAPES, Split, in_numbers
from lop_engine.datasets.class_folder import ClassEntry, ClassFolder, Manifest, combined_sha256
from lop_engine.datasets.importing import (
    archives,
    batches,
    class_files,
    idx,
    image_folder,
    parquet,
    pixels,
    whole_arrays,
)
from lop_engine.datasets.importing.source import ImportOptions, Source, check_names_file, class_names
from lop_engine.datasets.importing.writer import ClassWriter, new_folder
from lop_engine.datasets.verify import ClassSurvey, channel_statistics, survey_class
from lop_engine.errors import DataError, did_you_mean, why
from lop_engine.files import resolved

__all__ = ["FORMATS", "ImportOptions", "Report", "default_target", "import_images", "open_source", "write_dataset"]

#: Modules by format name. The first that recognises a source is used.
FORMATS = {
    "npy": class_files,
    "batches": batches,
    "idx": idx,
    "arrays": whole_arrays,
    "parquet": parquet,
    "folder": image_folder,
}

_MOST_FOLDERS = 100
_UNPACKED = "unpacked"

Report = Callable[[str, int, int], None]
"""Reports progress: current step, units done, units in total."""

OpenIn = Callable[[Path], Source]
"""Returns a source; unpacks files, if necessary, into the new folder of that path."""


def import_images(path: Path, target: Path, options: ImportOptions, report: Report) -> tuple[Manifest, list[str]]:
    """Read the images at `path` into the new folder `target`.

    Returns:
        The content of `target`, and notes for the user.
    Raises:
        DataError: names the file and the error; `target` is unchanged.
    """
    _check_place(path, target)
    if options.resize is not None:
        pixels.check_filter(options.resize)
    if options.names:
        check_names_file(options.names)
    if archives.is_archive(path):
        opened: OpenIn = partial(_open_archive, path, options)
        return write_dataset(opened, in_text(path), target, options, report)
    source_here = open_source(path, options)
    return write_dataset(lambda _: source_here, in_text(path), target, options, report)


def _check_place(path: Path, target: Path) -> None:
    """Raise DataError if there is no source, or if source and target lie in each other."""
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        source, inside = resolved(path), resolved(target.expanduser())
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {why(error)}") from None
    if source == inside or source in inside.parents or inside in source.parents:
        raise DataError(f"{path}: source and target lie in each other; name another place with --to DIR")


def default_target(path: Path, options: ImportOptions) -> Path:
    """Return the default place for the images at `path`. Raises DataError."""
    try:
        if not path.exists() or archives.is_archive(path):
            return DIRECTORIES[options.shape or IMAGE_SHAPE]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {why(error)}") from None
    return DIRECTORIES[open_source(path, options).shape]


def _open_archive(path: Path, options: ImportOptions, folder: Path) -> Source:
    """Unpack the archive `path` into the new folder `folder`, and open its content. Raises DataError."""
    archives.unpack(path, folder)
    inside = folder
    while len(entries := list(inside.iterdir())) == 1 and entries[0].is_dir():
        inside = entries[0]
    folders = [] if _is_in_a_form(inside) else _folders_inside(inside)
    if len(folders) > 1:
        names = ", ".join(one.name for one in folders)
        raise DataError(f"{path}: holds several folders of images ({names}); unpack it and import one of them")
    return open_source(folders[0] if folders else inside, options)


def in_text(path: Path) -> str:
    """Return a path as UTF-8 text, whatever bytes it consists of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def open_source(path: Path, options: ImportOptions) -> Source:
    """Return the source at `path`, in the requested format or the first that recognises it. Raises DataError."""
    source = _open_by_format(path, options)
    if options.shape not in (None, source.shape):
        raise DataError(
            f"{path}: holds {SHAPES[source.shape]}, which --shape {in_numbers(options.shape)} does not change; "
            "leave out --shape"
        )
    return source


def _open_by_format(path: Path, options: ImportOptions) -> Source:
    if options.format is not None:
        if options.format not in FORMATS:
            hint = did_you_mean(options.format, FORMATS)
            raise DataError(f'--format "{options.format}": choose one of {", ".join(FORMATS)}{hint}')
        return FORMATS[options.format].open_source(path, options)
    for name, module in FORMATS.items():
        if name == "folder" and (inner := _folders_inside(path)):
            raise DataError(f"{path}: its images are in a folder inside; did you mean {inner[0]}?")
        if module.recognises(path):
            return module.open_source(path, options)
    raise DataError(f"{path}: {_what_it_is(path)}")


def _folders_inside(path: Path) -> list[Path]:
    """Return the folders in `path` that hold images in a format other than a folder per class."""
    folders = sorted(one for one in path.iterdir() if one.is_dir()) if path.is_dir() else []
    return [one for one in folders[:_MOST_FOLDERS] if _is_in_a_form(one)]


def _is_in_a_form(path: Path) -> bool:
    """Whether `path` holds images in a format other than a folder per class."""
    return any(module.recognises(path) for name, module in FORMATS.items() if name != "folder")


def _archive_inside(path: Path) -> Path | None:
    """Return the first archive in the folder `path`, or None."""
    return min(filter(archives.is_archive, path.iterdir()), default=None) if path.is_dir() else None


def _what_it_is(path: Path) -> str:
    """Return why a source of unknown format cannot be imported, and what to do."""
    if path.is_file() and path.name.lower().endswith((".7z", ".rar", ".tar.zst")):
        return "an archive that is not read; unpack it, then import the folder that it holds"
    if inner := _archive_inside(path):
        return f"its images are in an archive inside; did you mean {inner}?"
    if batches.has_only_validation(path):
        return "validation images only; import the folder of train_data_batch_1 ... (Imagenet32_train)"
    return (
        "unknown format of images; known are classes/0.npy ... (npy), train_data_batch_1 ... or CIFAR-100's train "
        "(batches), train-images-idx3-ubyte (idx), mnist.npz (arrays), *.parquet (parquet) or one folder of image "
        "files a class (folder)"
    )


def write_dataset(
    open_in: OpenIn, origin: str, target: Path, options: ImportOptions, report: Report
) -> tuple[Manifest, list[str]]:
    """Write the images of a source as the new folder `target`; see `import_images`.

    Args:
        open_in: returns the source. It may create the given folder, which is removed after an error.
    """
    preferred = Split(options.train_images or PAPER_SPLIT.train, options.test_images or PAPER_SPLIT.test)
    with new_folder(target, options.replace) as staging:
        folder, unpacked = staging / "classes", staging / _UNPACKED
        folder.mkdir()
        try:
            source = open_in(unpacked)
            if _belongs_elsewhere(target, source):
                raise DataError(f"{origin}: holds {SHAPES[source.shape]}; add --to {DIRECTORIES[source.shape]}")
            limit = preferred.total if _is_split(source, options) else sys.maxsize
            writer = ClassWriter(folder, limit, source.shape)
            for block, done in source.blocks(limit):
                writer.add(block)
                report("reading", done, source.total)
        except DataError as error:
            raise DataError(str(error).replace(str(unpacked), origin)) from None
        try:
            classes = _order(writer, source, options)
            split, notes = _split({name: writer.counts[label] for name, label in classes}, preferred, options)
        except DataError as error:
            raise DataError(f"{origin}: {error}") from None
        writer.finish([label for _, label in classes])
        shutil.rmtree(unpacked, ignore_errors=True)
        source_facts = {"path": origin, "format": source.format}
        manifest = _describe(folder, [name for name, _ in classes], split, source_facts, report)
        manifest.write(staging)
    return manifest, [*source.notes(), *notes]


def _belongs_elsewhere(target: Path, source: Source) -> bool:
    """Whether `target` is the default place of images of another shape."""
    return any(place == target and shape != source.shape for shape, place in DIRECTORIES.items())


def _is_split(source: Source, options: ImportOptions) -> bool:
    """Whether only the images of the split are kept: not for grey images, whose problems have no test set."""
    return bool(options.train_images or options.test_images) or source.shape == IMAGE_SHAPE


def _order(writer: ClassWriter, source: Source, options: ImportOptions) -> list[tuple[str, int]]:
    """Return names and labels ordered by name (WNID); by label if there are no names."""
    if len(writer.counts) < 2:
        raise DataError(f"{'1 class' if writer.counts else 'no class'} found; a task needs at least 2")
    labels = sorted(writer.counts)
    names = class_names(labels, source.names(), options.names)
    if names is None:
        return [(str(label), label) for label in labels]
    return sorted(zip(names, labels, strict=True), key=lambda pair: _in_order(pair[0]))


def _in_order(name: str) -> tuple[int, str]:
    """Sort key: numbers by value, before words."""
    return (int(name), "") if name.isdecimal() else (sys.maxsize, name)


def _split(counts: dict[str, int], preferred: Split, options: ImportOptions) -> tuple[Split, list[str]]:
    """Return the split that the smallest class allows, and a note if it is not the preferred one."""
    smallest = min(counts, key=lambda name: counts[name])
    fewest = counts[smallest]
    if fewest < 2:
        raise DataError(f'class "{smallest}" holds {fewest} image; it needs at least 2, one to train and one to test')
    if preferred.total <= fewest:
        return preferred, []
    if options.train_images and not options.test_images and fewest > options.train_images:
        return Split(options.train_images, fewest - options.train_images), []
    if options.train_images or options.test_images:
        raise DataError(f'class "{smallest}" holds {fewest} images, {preferred.total} are asked for ({preferred})')
    split = preferred.fitting(fewest)
    few = sum(count < preferred.total for count in counts.values())
    note = f"{few} of {len(counts)} classes hold fewer than {preferred.total} images, the smallest {fewest}"
    return split, [f"{note}: the split is {split} a class, in place of {preferred}"]


def _describe(folder: Path, names: list[str], split: Split, source: dict[str, str], report: Report) -> Manifest:
    written = ClassFolder.open(folder)
    surveys: list[ClassSurvey] = []
    for index in range(written.num_classes):
        surveys.append(survey_class(written, index))
        report("checking", index + 1, written.num_classes)
    means, stds = channel_statistics(surveys, written.shape)
    entries = [
        ClassEntry(name=name, images=one.num_images, sha256=one.sha256)
        for name, one in zip(names, surveys, strict=True)
    ]
    return Manifest(
        source=source,
        dtype=str(written.dtype),
        shape=list(written.shape),
        train_images=split.train,
        test_images=split.test,
        normalisation="scaled" if written.dtype == "uint8" else "none",
        minimum=min(one.minimum for one in surveys),
        maximum=max(one.maximum for one in surveys),
        channel_means=means,
        channel_stds=stds,
        classes=entries,
        sha256=combined_sha256(str(written.dtype), [one.sha256 for one in surveys]),
    )
