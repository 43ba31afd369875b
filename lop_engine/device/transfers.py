"""Copies between a GPU and the host, through pinned memory, so that neither waits."""

from collections.abc import Iterable

import torch
from torch import Tensor


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor, ready to be copied to `device` by ``.to(device, non_blocking=True)``."""
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
        """The tensors on the host. Waits until they have arrived; any thread may ask."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensors
