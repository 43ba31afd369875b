"""Look at a data set on disk from end to end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lop_engine.datasets.base import SIDE
from lop_engine.datasets.class_folder import ClassFolder
from lop_engine.datasets.manifest import NAME, Manifest, combined_sha256
from lop_engine.datasets.survey import ClassSurvey, channel_statistics, survey_class
from lop_engine.errors import DataError


@dataclass(frozen=True)
class Verified:
    """What was found."""

    folder: ClassFolder | None
    """None if it cannot even be opened."""
    problems: list[str]
    notes: list[str]
    minimum: float = 0.0
    maximum: float = 0.0
    channel_means: tuple[float, ...] = ()
    channel_stds: tuple[float, ...] = ()


def verify(path: Path, report: Callable[[str, int, int], None]) -> Verified:
    """Read every image of the data set at `path`: checksums, counts, values, classes that are there twice."""
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
    means, stds = channel_statistics(surveys, SIDE * SIDE)
    low, high = min(one.minimum for one in surveys), max(one.maximum for one in surveys)
    if folder.manifest and not problems:
        problems += _manifest_problems(folder.path.parent / NAME, folder, folder.manifest, (low, high, means, stds))
    return Verified(folder, problems, notes, low, high, tuple(means), tuple(stds))


def _class_problems(folder: ClassFolder, index: int, this: ClassSurvey, first_with: dict[str, int]) -> list[str]:
    """What is wrong with class `index`; `first_with` is where these images were met first."""
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
    path: Path, folder: ClassFolder, manifest: Manifest, found: tuple[float, float, list[float], list[float]]
) -> list[str]:
    """What the manifest says and the images do not."""
    low, high, means, stds = found
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
