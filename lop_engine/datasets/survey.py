"""What an array of images holds: checksum, range, means. Used when images are imported and when they are verified."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lop_engine.datasets.class_folder import ClassFolder
from lop_engine.errors import DataError

_BLOCK = 256
"""Images looked at in one piece."""


@dataclass(frozen=True)
class ClassSurvey:
    """One class file."""

    num_images: int
    sha256: str
    """Of the images' bytes, in C order."""
    minimum: float
    maximum: float
    sums: np.ndarray
    """Of the values by channel, shape (3,), float64."""
    squares: np.ndarray
    is_constant: bool
    """Whether all images are one and the same."""


def survey_class(folder: ClassFolder, index: int) -> ClassSurvey:
    """Look at every value of a class. Raises DataError for a file that is not whole, for NaN or infinity."""
    sums, squares = np.zeros(3), np.zeros(3)
    digest = hashlib.sha256()
    minimum, maximum = np.inf, -np.inf
    first: np.ndarray | None = None
    seen, is_constant = 0, True
    for block in folder.blocks(index, _BLOCK):
        check_finite(block, str(folder.file(index)), seen)
        digest.update(np.ascontiguousarray(block).data)
        minimum, maximum = min(minimum, float(block.min())), max(maximum, float(block.max()))
        values = block.astype(np.float64)
        sums += values.sum((0, 2, 3))
        squares += np.square(values, out=values).sum((0, 2, 3))
        first = block[:1].copy() if first is None else first
        is_constant = is_constant and bool((block == first).all())
        seen += len(block)
    return ClassSurvey(seen, digest.hexdigest(), minimum, maximum, sums, squares, is_constant)


def channel_statistics(surveys: Sequence[ClassSurvey], pixels: int) -> tuple[list[float], list[float]]:
    """Means and standard deviations by channel over all classes; an image has `pixels` values a channel."""
    count = pixels * sum(one.num_images for one in surveys)
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
