"""One seed's state on disk: enough to resume from the end of an epoch as if nothing had happened.

Random streams are functions of (seed, task, epoch), so tensors and a position are all there is to keep. One
file a seed: seeds that trained in one stack may resume in others.
"""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lop_engine.device.transfers import HostCopies
from lop_engine.errors import StoreError
from lop_engine.files import replacing
from lop_engine.runs.directory import RunDir, newer
from lop_engine.runs.files import without_checkpoint
from lop_engine.training.loop import Position

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """State of one seed (no seed axis) at `position`, and the documents its record files held then."""

    position: Position
    task_documents: int
    epoch_documents: int
    tensors: dict[str, Tensor]


def save(run_dir: RunDir, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in one step: on the disk before it takes the old one's name. The old one is kept, too."""
    content = {
        "format": FORMAT,
        "task": checkpoint.position.task,
        "epoch": checkpoint.position.epoch,
        "task_documents": checkpoint.task_documents,
        "epoch_documents": checkpoint.epoch_documents,
        "tensors": {name: tensor.detach().to("cpu", copy=True) for name, tensor in checkpoint.tensors.items()},
    }
    encoded = io.BytesIO()  # torch makes a puzzle of a disk's own errors
    torch.save(content, encoded)
    with replacing(run_dir.checkpoint, durable=True, keep_old_as=run_dir.previous_checkpoint) as file:
        file.write(encoded.getvalue())


class NewerCheckpointError(StoreError):
    """A checkpoint of a newer version of lop. It is not damaged, so the one before it does not take its place."""


def load_newest(run_dir: RunDir) -> tuple[Checkpoint | None, str | None]:
    """The newest checkpoint that can be used, None if missing; what to say if it is not the newest of all.

    Raises:
        StoreError: neither the newest nor the one before it can be used, or a newer version of lop wrote the newest.
    """
    try:
        newest = load(run_dir.checkpoint)
    except NewerCheckpointError:
        raise
    except StoreError as error:
        with contextlib.suppress(StoreError):
            older = load(run_dir.previous_checkpoint)
            if older:
                where = f"task {older.position.task}, epoch {older.position.epoch}"
                return older, f"{run_dir.checkpoint} is damaged; resumed from the one before it ({where})"
        raise StoreError(f"{error}; {without_checkpoint(run_dir)}") from None
    return newest or load(run_dir.previous_checkpoint), None


def load(path: Path) -> Checkpoint | None:
    """Read a checkpoint, or None. Raises StoreError if it cannot be used."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] > FORMAT:
            raise NewerCheckpointError(newer(path, "checkpoint format", content["format"], FORMAT, {}))
        return Checkpoint(
            Position(content["task"], content["epoch"]),
            content["task_documents"],
            content["epoch_documents"],
            content["tensors"],
        )
    except StoreError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        raise StoreError(f"{path}: damaged checkpoint") from error


def on_host(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a stack's state on the host, with one copy per tensor for all its seeds. Waits for the device."""
    return dict(zip(state, HostCopies(state.values()).result(), strict=True))
