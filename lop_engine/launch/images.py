"""Look at the images and class orders of runs before anything is made, as their workers will."""

from collections.abc import Sequence
from dataclasses import dataclass

from lop_engine.datasets import PAPER_SPLIT, ClassSequence, ImageSet, open_images, resolve
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec


@dataclass(frozen=True)
class Resolved:
    """Runs whose specs say all that decides their numbers."""

    runs: list[Run]
    images: list[str]
    """What the image sets are called, each once."""
    notes: list[str]
    """What people should know: a smaller split, a class order that repeats."""


def resolve_runs(runs: Sequence[Run]) -> Resolved:
    """Fill in what specs leave to their images. Raises DataError for images that are missing or cannot be used."""
    resolved: dict[Spec, Spec] = {}
    names: dict[str, None] = {}
    notes: dict[str, None] = {}
    seeds: dict[Spec, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.spec, []).append(run.seed)
    for spec, its_seeds in seeds.items():
        images = open_images(spec)
        sequence = ClassSequence.open(spec, images.num_classes)
        sequence.check_seeds(its_seeds)
        resolved[spec] = resolve(spec, images)
        names[images.name] = None
        notes |= dict.fromkeys(_notes(spec, resolved[spec], images, sequence))
    whole = [Run(run.experiment, run.setting, run.seed, resolved[run.spec]) for run in runs]
    return Resolved(whole, list(names), list(notes))


def _notes(spec: Spec, resolved: Spec, images: ImageSet, sequence: ClassSequence) -> list[str]:
    notes = []
    if not spec.train_images and not spec.test_images and images.split != PAPER_SPLIT:
        notes.append(
            f"{images.name}: {images.num_images} images in the smallest class: {images.split} images a class, "
            f"the paper has {PAPER_SPLIT}"
        )
    if not images.sha256:
        notes.append(f"{images.name} was not imported: nobody notices if its images change (lop data import)")
    if sequence.table is not None and sequence.table.shape[1] < spec.num_tasks * spec.num_classes:
        notes.append(
            f"the rows of {spec.class_order} hold {sequence.table.shape[1]} classes, {spec.num_tasks} tasks "
            f"take {spec.num_tasks * spec.num_classes}: the same classes come back"
        )
    return notes
