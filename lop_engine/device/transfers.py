"""Asynchronous copies between a GPU and the host, and selecting each run's examples from a stack's."""

from collections.abc import Iterable

import torch
from torch import Tensor


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a host tensor in pinned memory, for ``.to(device, non_blocking=True)``."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


class HostCopies:
    """Tensors being copied from a device to the host, one copy each. Tensors already on the host are not copied."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._tensors = [self._start(tensor) for tensor in tensors]
        if self._arrived is not None:
            self._arrived.record()

    def _start(self, tensor: Tensor) -> Tensor:
        if tensor.device.type != "cuda":
            return tensor.cpu()
        self._arrived = self._arrived or torch.cuda.Event(blocking=True)  # blocking: a waiting thread sleeps
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)

    def result(self) -> list[Tensor]:
        """Return the tensors on the host. Waits until they have arrived; any thread may call it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensors


def gathered(examples: Tensor, places_SB: Tensor) -> Tensor:
    """Return the examples (S, N, ...) at each run's places, (S, B, ...)."""
    if examples.device.type == "cpu" or examples.dim() == 2:
        rows_S1 = torch.arange(len(places_SB), device=places_SB.device).unsqueeze(1)
        return examples[rows_S1, places_SB]
    # For a GPU: whole examples are copied, as they lie in memory.
    strides = examples.stride()
    order = sorted(range(2, examples.dim()), key=lambda axis: -strides[axis])
    laid_out = examples.permute(0, 1, *order)
    num_runs, num_examples = laid_out.shape[:2]
    first_S1 = torch.arange(0, num_runs * num_examples, num_examples, device=places_SB.device).unsqueeze(1)
    taken = laid_out.flatten(0, 1).index_select(0, (places_SB + first_S1).flatten())
    back = [order.index(axis) + 2 for axis in range(2, examples.dim())]
    return taken.unflatten(0, places_SB.shape).permute(0, 1, *back)
