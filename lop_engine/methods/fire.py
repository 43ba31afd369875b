"""FIRE (ICLR 2026): weights become orthogonal at task boundaries, as near to their old values as possible.

At the start of every task but the first each weight W, the output layer's included, is divided by its Frobenius norm
and iterated `fire_iterations` times, X = 1.5 X - 0.5 X X^T X (Newton-Schulz), which tends to the orthogonal matrix that
is nearest to W. It is then scaled by sqrt(outputs / inputs). In a convolution every kernel position is a matrix of its
own, and the scale is also divided by the number of positions. Biases stay as they are.

Dimensions: S runs, O outputs, I inputs, K entries of a kernel.
"""

from math import sqrt

import torch
from torch import Tensor

from lop_engine.experiment import methods_at_boundaries as described
from lop_engine.methods.boundaries import AtBoundary
from lop_engine.methods.method import Setup, TaskData


class Fire(AtBoundary):
    """Makes weights orthogonal; by default the optimiser is reset, as in the authors' code."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.Fire)
        self.renews_optimizer = self.own.fire_optimizer_state == "reset"

    def change(self, task: TaskData) -> None:
        for layer in self.setup.network.layers:
            weight = self.params[f"{layer.name}.weight"]
            matrix_SKOI = weight.flatten(3).movedim(3, 1) if layer.kernel else weight.unsqueeze(1)
            outputs, inputs = matrix_SKOI.shape[2:]
            scale = sqrt(outputs / inputs) / max(1, layer.kernel) ** 2
            new = orthogonal(matrix_SKOI, self.own.fire_iterations) * scale
            weight.copy_(new.movedim(1, 3).view(weight.shape) if layer.kernel else new.squeeze(1))


def orthogonal(matrix: Tensor, iterations: int) -> Tensor:
    """Newton-Schulz iterations towards the nearest orthogonal matrix of each (..., O, I); zeros stay zeros."""
    is_high = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if is_high else matrix
    norm = torch.linalg.matrix_norm(x, keepdim=True)
    x = x / norm.clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(iterations):
        x = 1.5 * x - 0.5 * (x @ x.mT) @ x
    return x.mT if is_high else x
