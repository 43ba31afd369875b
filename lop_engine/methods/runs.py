"""The runs of a stack, and their numeric keys.

A number that all runs share is a Python number; one that differs is a tensor with a value per run.

Dimensions: S runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Tensor

from lop_engine.experiment.fields import Fields
from lop_engine.experiment.spec import Spec, common, per_run_keys

F = TypeVar("F", bound=Fields)

Number = float | Tensor
"""A number for all runs, or one for each: (S,), in double precision."""


@dataclass(frozen=True)
class Runs:
    """The runs that train in one stack, each with a spec and a seed."""

    specs: Sequence[Spec]
    seeds: Sequence[int]
    device: torch.device

    def __post_init__(self) -> None:
        unmarked = self.spec.differing - per_run_keys(self.specs[0])
        if unmarked:
            raise ValueError(f"runs that differ in {', '.join(sorted(unmarked))} cannot share a stack")

    @cached_property
    def spec(self) -> Spec:
        """Return the keys that all runs share."""
        return common(self.specs)

    @cached_property
    def _owned(self) -> dict[type[Fields], Any]:
        return {}

    def own(self, fields: type[F]) -> F:
        """Return the keys that a component declares as `fields`, as attributes; each number is a `Number`.

        Tensors are made once: a CUDA graph cannot make them.
        """
        if fields not in self._owned:
            self._owned[fields] = self._make_own(fields)
        owned: F = self._owned[fields]
        return owned

    def _make_own(self, fields: type[F]) -> F:
        differing = {key: self._values(fields, key) for key in fields.model_fields if key in self.spec.differing}
        shared = self.spec.own(fields)
        return _Own(shared, differing) if differing else shared  # type: ignore[return-value]

    def each(self, fields: type[F]) -> list[F]:
        """Return the same for every run, as Python numbers."""
        return [spec.own(fields) for spec in self.specs]

    def _values(self, fields: type[Fields], key: str) -> Tensor:
        values = [getattr(one, key) for one in self.each(fields)]
        return torch.tensor(values, dtype=torch.float64, device=self.device)


class _Own(SimpleNamespace):
    """Keys of a component, some of which differ between runs."""

    def __init__(self, shared: Fields, differing: dict[str, Tensor]) -> None:
        super().__init__(**differing)
        self._shared = shared

    def __getattr__(self, key: str) -> Any:
        return getattr(self._shared, key)


def like(number: Number, tensor: Tensor) -> Number:
    """Convert a number to the precision of `tensor`, (S, ...), with axes to broadcast over it."""
    if not isinstance(number, Tensor):
        return number
    return number.to(tensor.dtype).view(-1, *[1] * (tensor.dim() - 1))


def is_used(number: Number) -> bool:
    """Whether a number whose effect is nothing at 0 has an effect in any run. Does not wait for the device."""
    return isinstance(number, Tensor) or number != 0


def add_(tensor: Tensor, other: Tensor, number: Number) -> Tensor:
    """Add number x other to a tensor (S, ...), in place."""
    if isinstance(number, Tensor):
        return tensor.addcmul_(other.to(tensor.dtype), like(number, tensor))  # type: ignore[arg-type]
    return tensor.add_(other, alpha=number)


def plus(tensor: Tensor, other: Tensor, number: Number) -> Tensor:
    """Return tensor + number x other, (S, ...)."""
    if isinstance(number, Tensor):
        return tensor.addcmul(other.to(tensor.dtype), like(number, tensor))  # type: ignore[arg-type]
    return tensor.add(other, alpha=number)
