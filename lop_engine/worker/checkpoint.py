"""The state of one seed on disk, from which training resumes after an epoch without a difference.

Random streams are functions of (seed, task, epoch), so a checkpoint only needs tensors and a position. Each seed has
a file: seeds that trained in one stack may resume in others.
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
    """State of one seed (without seed axis) at `position`, and the number of documents in its record files."""

    position: Position
    task_documents: int
    epoch_documents: int
    tensors: dict[str, Tensor]


def save(run_dir: RunDir, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically and durably. The previous one is kept, too."""
    content = {
        "format": FORMAT,
        "task": checkpoint.position.task,
        "epoch": checkpoint.position.epoch,
        "task_documents": checkpoint.task_documents,
        "epoch_documents": checkpoint.epoch_documents,
        "tensors": {name: tensor.detach().to("cpu", copy=True) for name, tensor in checkpoint.tensors.items()},
    }
    encoded = io.BytesIO()  # Serialise to memory first: torch.save hides the OSError
    torch.save(content, encoded)
    with replacing(run_dir.checkpoint, durable=True, keep_old_as=run_dir.previous_checkpoint) as file:
        file.write(encoded.getvalue())


class NewerCheckpointError(StoreError):
    """A checkpoint of a newer version of lop. It is not damaged, so it is not replaced by the one before it."""


def load_newest(run_dir: RunDir) -> tuple[Checkpoint | None, str | None]:
    """Return the newest usable checkpoint, or None; and a note if it is not the newest of all.

    Raises:
        StoreError: neither the newest nor the previous one can be used, or a newer version of lop wrote the newest.
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
    """Read a checkpoint, or return None. Raises StoreError if it cannot be used."""
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
    except Exception as error:  # torch raises many exception types for a damaged file
        raise StoreError(f"{path}: damaged checkpoint") from error


def on_host(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy a stack's state to the host, with one copy per tensor for all its seeds. Waits for the device."""
    return dict(zip(state, HostCopies(state.values()).result(), strict=True))
