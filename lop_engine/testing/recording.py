"""Operations of a training step, recorded and run again, as a CUDA graph does."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]
"""An operation, its arguments and what it returned."""


class OperationMode(TorchDispatchMode):
    """Sees each operation. torch would import its compiler for one, which takes seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Recorder(OperationMode):
    """Notes each operation, its arguments and the tensors it returned."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, returned))
        return returned


@torch.no_grad()
def replay(calls: Iterable[Call]) -> None:
    """Run operations again on the same tensors, without the Python code between them."""
    for func, args, kwargs, returned in calls:
        again = func(*args, **kwargs)
        for tensor, new in zip(tree_leaves(returned), tree_leaves(again), strict=True):
            if isinstance(tensor, Tensor) and tensor.data_ptr() != new.data_ptr():
                tensor.copy_(new)
