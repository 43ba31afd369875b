"""The images of a task, on its node: looked at before a worker starts, and copied to the node's own disk."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lop_engine.datasets import ClassFolder, ClassSequence, ImageSet, open_images, place_of
from lop_engine.datasets.staging import expand, stage
from lop_engine.errors import DataError, UserError, sentence
from lop_engine.experiment.spec import Spec

PATIENCE_S = 10 * 60
"""A thousand tasks that start at once look at a thousand files each."""
LOOK_S = 0.1
_SHARED = "the images must lie where the compute nodes see them; then lop resume"


def node() -> str:
    """This machine, as Slurm calls it."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def has_images(spec: Spec) -> bool:
    """Whether a spec names a set of images."""
    return "dataset" in spec.to_dict()


def look_at(spec: Spec, seeds: Sequence[int], should_stop: Callable[[], bool]) -> ImageSet | None:
    """Open the images and the class order of runs, as their worker will; None after `should_stop`.

    Raises:
        DataError: a line that names the node and the path: they are not to be seen there, cannot be used, or the file
            system does not answer.
    """
    found: list[ImageSet | Exception] = []

    def look() -> None:
        try:
            found.append(_open(spec, seeds))
        except Exception as error:
            found.append(error)

    # What a dead file server is asked for never returns.
    thread = threading.Thread(target=look, name="images", daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while thread.is_alive() and time.monotonic() < deadline and not should_stop():
        thread.join(LOOK_S)
    if not found and should_stop():
        return None
    if not found:
        where = f"{node()}: {spec.dataset}"
        raise DataError(f"{where}: no answer for {PATIENCE_S // 60} minutes; lop resume tries again")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _open(spec: Spec, seeds: Sequence[int]) -> ImageSet:
    place: Path | None = None
    try:
        place = place_of(spec)
        if place and not place.is_dir():
            raise DataError(f"{place.absolute()}: no images there; {_SHARED}")
        images = open_images(spec, every_file=False)
        ClassSequence.open(spec, images.num_classes).check_seeds(list(seeds))
    except UserError as error:
        raise DataError(f"{node()}: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise DataError(f"{node()}: {sentence(error, place)}; {_SHARED}") from None
    return images


def worker_options(
    images: ImageSet, directory: str, should_stop: Callable[[], bool], report: Callable[[str], None]
) -> list[str]:
    """Copy images to `directory` of this node; return what a worker is told: the copy, or a note why there is none.

    Staging only spares the file server: whatever goes wrong with it, the images are read from where they are.
    """
    if not isinstance(images, ClassFolder):
        report("images: synthetic, made where they are wanted; there is nothing to stage")
        return []
    try:
        return [f"--images={stage(images, expand(directory), should_stop, report)}"]
    except DataError as error:
        if should_stop():  # there will be no worker
            return []
        note = f"{node()}: not staged: {error}; the images are read from {images.name}"
        report(note)
        return [f"--note={note}"]
