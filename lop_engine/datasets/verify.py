"""Checks a data set on disk completely: checksum, range and means of each class."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lop_engine.datasets.base import Shape
from lop_engine.datasets.class_folder import NAME, ClassFolder, Manifest, combined_sha256
from lop_engine.errors import DataError

_BLOCK = 256
"""Images read at a time."""


@dataclass(frozen=True)
class ClassSurvey:
    """Statistics of one class file."""

    num_images: int
    sha256: str
    """Checksum of the images' bytes, in C order."""
    minimum: float
    maximum: float
    sums: np.ndarray
    """Sums of the values by channel, float64."""
    squares: np.ndarray
    is_constant: bool
    """Whether all images are identical."""


def survey_class(folder: ClassFolder, index: int) -> ClassSurvey:
    """Read every value of a class. Raises DataError for an incomplete file, for NaN or infinity."""
    sums, squares = np.zeros(folder.shape[0]), np.zeros(folder.shape[0])
    digest = hashlib.sha256()
    minimum, maximum = np.inf, -np.inf
    first: np.ndarray | None = None
    num_images, is_constant = 0, True
    for block in folder.blocks(index, _BLOCK):
        check_finite(block, str(folder.file(index)), num_images)
        digest.update(np.ascontiguousarray(block).data)
        minimum, maximum = min(minimum, float(block.min())), max(maximum, float(block.max()))
        values = block.astype(np.float64)
        sums += values.sum((0, 2, 3))
        squares += np.square(values, out=values).sum((0, 2, 3))
        first = block[:1].copy() if first is None else first
        is_constant = is_constant and bool((block == first).all())
        num_images += len(block)
    return ClassSurvey(num_images, digest.hexdigest(), minimum, maximum, sums, squares, is_constant)


def channel_statistics(surveys: Sequence[ClassSurvey], shape: Shape) -> tuple[list[float], list[float]]:
    """Return means and standard deviations by channel over all classes; images have the shape `shape`."""
    count = shape[1] * shape[2] * sum(one.num_images for one in surveys)
    means = np.sum([one.sums for one in surveys], axis=0) / count
    variances = np.sum([one.squares for one in surveys], axis=0) / count - means**2
    return means.tolist(), np.sqrt(np.maximum(variances, 0)).tolist()


def check_finite(images: np.ndarray, where: str, first: int = 0) -> None:
    """Raise DataError if a value is NaN or infinite, or too large for float32; `first` is the first image's number."""
    if images.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        bad = np.flatnonzero(~np.isfinite(images.astype(np.float32)).all((1, 2, 3)))
    if len(bad):
        raise DataError(f"{where}: image {first + int(bad[0])} holds values that are not finite numbers")


@dataclass(frozen=True)
class Verified:
    """Result of a check."""

    folder: ClassFolder | None
    """None if it cannot be opened."""
    problems: list[str]
    notes: list[str]
    minimum: float = 0.0
    maximum: float = 0.0
    channel_means: tuple[float, ...] = ()
    channel_stds: tuple[float, ...] = ()


def verify(path: Path, report: Callable[[str, int, int], None]) -> Verified:
    """Read every image of the data set at `path`: checksums, counts, values, duplicate classes."""
    try:
        folder = ClassFolder.open(path)
    except DataError as error:
        return Verified(None, [str(error)], [])
    problems, notes = [], []
    if folder.manifest is None:
        notes.append(f"no {NAME}: not imported by lop, so there are no checksums to compare with")
    surveys: list[ClassSurvey] = []
    first_with: dict[str, int] = {}
    for index in range(folder.num_classes):
        try:
            surveys.append(survey_class(folder, index))
            problems += _class_problems(folder, index, surveys[-1], first_with)
        except DataError as error:
            problems.append(str(error))
        report("verifying", index + 1, folder.num_classes)
    if not surveys:
        return Verified(folder, problems, notes)
    means, stds = channel_statistics(surveys, folder.shape)
    low, high = min(one.minimum for one in surveys), max(one.maximum for one in surveys)
    if folder.manifest and not problems:
        problems += _manifest_problems(folder.path.parent / NAME, folder, folder.manifest, (low, high, means, stds))
    return Verified(folder, problems, notes, low, high, tuple(means), tuple(stds))


def _class_problems(folder: ClassFolder, index: int, this: ClassSurvey, first_with: dict[str, int]) -> list[str]:
    """Return the problems of class `index`; `first_with` maps images to their first class."""
    problems = []
    if folder.manifest and this.sha256 != folder.manifest.classes[index].sha256:
        problems.append(f"{folder.file(index)}: its images are not those that were imported (checksum)")
    if this.is_constant:
        problems.append(f"{folder.file(index)}: all {this.num_images} images are the same")
    other = first_with.setdefault(this.sha256, index)
    if other != index:
        problems.append(f"{folder.file(index)}: holds the same images as {folder.file(other).name}")
    return problems


def _manifest_problems(
    path: Path, folder: ClassFolder, manifest: Manifest, measured: tuple[float, float, list[float], list[float]]
) -> list[str]:
    """Return the differences between the manifest and the images."""
    low, high, means, stds = measured
    sound = {
        "sha256": manifest.sha256 == combined_sha256(manifest.dtype, [entry.sha256 for entry in manifest.classes]),
        "train_images and test_images": manifest.split.total <= folder.num_images,
        "normalisation": manifest.normalisation == "none" or folder.dtype == np.uint8,
        "minimum and maximum": (manifest.minimum, manifest.maximum) == (low, high),
        "channel_means": np.allclose(manifest.channel_means, means),
        "channel_stds": np.allclose(manifest.channel_stds, stds),
    }
    return [
        f"{path}: {what} is not that of the images; it has been edited"
        for what, is_sound in sound.items()
        if not is_sound
    ]
