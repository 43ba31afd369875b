"""Look at a data set on disk from end to end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lop_engine.datasets.base import SIDE
from lop_engine.datasets.class_folder import ClassFolder
from lop_engine.datasets.manifest import NAME, combined_sha256
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
    for index in range(folder.num_classes):
        try:
            surveys.append(survey_class(folder.file(index), folder.mapped(index)))
            problems += _class_problems(folder, index, surveys)
        except DataError as error:
            problems.append(str(error))
        report("verifying", index + 1, folder.num_classes)
    if folder.manifest and folder.manifest.sha256 != combined_sha256([e.sha256 for e in folder.manifest.classes]):
        problems.append(f"{path / NAME}: its checksum is not that of its classes; it has been edited")
    if not surveys:
        return Verified(folder, problems, notes)
    means, stds = channel_statistics(surveys, SIDE * SIDE)
    low, high = min(one.minimum for one in surveys), max(one.maximum for one in surveys)
    return Verified(folder, problems, notes, low, high, tuple(means), tuple(stds))


def _class_problems(folder: ClassFolder, index: int, surveys: list[ClassSurvey]) -> list[str]:
    """What is wrong with class `index`, the last one looked at."""
    this = surveys[-1]
    problems = []
    if folder.manifest and this.sha256 != folder.manifest.classes[index].sha256:
        problems.append(f"{folder.file(index)}: its images are not those that were imported (checksum)")
    if this.is_constant:
        problems.append(f"{folder.file(index)}: all {this.num_images} images are the same")
    for other, one in enumerate(surveys[:-1]):
        if one.sha256 == this.sha256:
            problems.append(f"{folder.file(index)}: holds the same images as {folder.file(other).name}")
    return problems
