"""The input of metrics: a stack of networks after an epoch. Each part is computed once, when first used."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from lop_engine.metrics.ranks import singular_values
from lop_engine.networks import Activations, Params

Forward = Callable[[Params, Tensor], Activations]
"""Computes the networks' outputs for inputs (S, B, ...)."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of each seed, (S,), given outputs (S, B, O) and targets."""


@dataclass(frozen=True)
class MetricInputs:
    """Networks and examples of one moment; inputs (S, N, ...), targets (S, N, ...)."""

    forward: Forward
    loss: Loss
    params: Params
    batch_scores: list[Tensor]
    """Scores of the epoch's steps, each before its update, (S,); empty for a problem without a score."""
    batch_losses: list[Tensor]
    inputs: Tensor
    """The task's training examples, in the epoch's order."""
    targets: Tensor
    test_inputs: Tensor | None
    test_targets: Tensor | None
    by_unit: Callable[[int, Tensor], Tensor]
    """|activations| of a hidden layer by units, see `Network.by_unit`."""
    batch_size: int
    """Mini-batch size: dormancy, ranks and gradient norm use the first batch of the epoch's order."""
    num_curvature_images: int
    generators: list[torch.Generator]
    """Generators for the curvature's directions, one per seed."""
    first_batch: Iterable[Tensor] | None = None
    """Inputs (S, B, ...), in order, that hidden layers are computed on instead of the first batch."""

    @property
    def itself(self) -> Self:
        """Return this object, for metrics that take everything."""
        return self

    @property
    def first_inputs(self) -> Tensor:
        return self.inputs[:, : self.batch_size]

    @property
    def first_targets(self) -> Tensor:
        return self.targets[:, : self.batch_size]

    @cached_property
    @torch.no_grad()
    def _layers(self) -> list[Tensor]:
        by_part = [
            [layer.activation for layer in self.forward(self.params, inputs).hidden]
            for inputs in (self.first_batch if self.first_batch is not None else [self.first_inputs])
        ]
        return by_part[0] if len(by_part) == 1 else [torch.cat(parts, 1) for parts in zip(*by_part, strict=True)]

    @property
    def features(self) -> Tensor:
        """Return outputs of the last hidden layer on the first batch, (S, B, F)."""
        return self._layers[-1].flatten(2)

    @cached_property
    def hidden(self) -> list[Tensor]:
        """Return |activations| of the units of each hidden layer on the first batch, after pooling: (S, B, F, ...)."""
        return [self.by_unit(index, outputs) for index, outputs in enumerate(self._layers)]

    @cached_property
    def spectrum(self) -> Tensor:
        """Return singular values of `features`."""
        return singular_values(self.features)

    def features_of(self, layer: int) -> Tensor:
        """Return outputs of hidden layer `layer`, from 1, on the first batch, (S, B, F)."""
        return self._layers[layer - 1].flatten(2)
