"""What metrics look at: a stack of networks after an epoch. Each part is computed once, when it is first asked for."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lop_engine.metrics.ranks import singular_values
from lop_engine.nets import Net, Params


@dataclass(frozen=True)
class Probe:
    """Networks and images of one moment; images (S, N, C, H, W), labels (S, N)."""

    net: Net
    params: Params
    batch_accuracies: list[Tensor]
    """Of the epoch's steps, each before its update, (S,)."""
    images: Tensor
    """The task's training images, in the epoch's order."""
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    batch_size: int
    """Mini-batch size: the first batch of the epoch's order serves dormancy, ranks and gradient norm."""
    num_curvature_images: int
    generators: list[torch.Generator]
    """For the curvature's directions, one a seed."""

    @property
    def first_batch(self) -> tuple[Tensor, Tensor]:
        return self.images[:, : self.batch_size], self.labels[:, : self.batch_size]

    @cached_property
    @torch.no_grad()
    def hidden(self) -> list[Tensor]:
        """Activations of each hidden layer on the first batch; empty for a linear network."""
        return self.net(self.params, self.first_batch[0]).hidden

    @cached_property
    def spectrum(self) -> Tensor:
        """Singular values of the last hidden layer's activations on the first batch."""
        return singular_values(self.hidden[-1])
