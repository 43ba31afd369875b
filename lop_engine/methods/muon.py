"""Muon (Jordan et al. 2024): orthogonalised momentum for the weights of hidden layers, AdamW for all else.

With m <- m + (1 - muon_momentum) (g - m) and the Nesterov step u = g + muon_momentum (m - g), as a matrix of outputs
and the rest:

    w = (1 - step_size x weight_decay) w - step_size x scale x orthogonal(u)

orthogonal(u) is five steps of a Newton-Schulz iteration, which bring the singular values of u near 1. The scale is
sqrt(max(1, outputs / inputs)) of a linear layer. Of a convolution it is 1: the authors take it from the last two axes,
the sides of the kernel. Biases, scale and shift of layer normalisation, and the output layer are AdamW's, with
`adamw_step_size`. With `muon_variant` torch so are convolutions, and the norm by which u is first divided is at least
1e-7, where the authors add 1e-7: that is torch.optim.Muon.

A unit that starts over loses its rows and columns of m; of AdamW's state it loses what `adamW` does.

The iteration costs about 3 x min(outputs, inputs) multiplications for each weight and step, whatever the batch, so a
step costs more than 1.3 times that of SGD where batches are small.

Dimensions: S runs, O outputs, I the rest.
"""

import torch
from torch import Tensor

from lop_engine.experiment import optimizers as described
from lop_engine.experiment.parts import Experiment
from lop_engine.methods.optimizers import AdamW, Grads
from lop_engine.methods.runs import Runs, add_, is_used, like
from lop_engine.networks import Network, Params

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
EPSILON = 1e-7
"""Added to the norm of a matrix; with torch its minimum."""


class Muon:
    """Muon with a separate AdamW."""

    def __init__(self, runs: Runs, params: Params, network: Network) -> None:
        self.own, of_all = runs.own(described.MuonKeys), runs.own(Experiment)
        self.step_size, self.weight_decay = of_all.step_size, of_all.weight_decay
        self.as_torch = self.own.muon_variant == "torch"
        layers = [one for one in network.hidden_layers if not (self.as_torch and one.kernel)]
        self.momentum = {f"{one.name}.weight": torch.zeros_like(params[f"{one.name}.weight"]) for one in layers}
        self.rest = AdamW(runs, {name: one for name, one in params.items() if name not in self.momentum}, network)
        self.rest.step_size = self.own.adamw_step_size

    @torch.no_grad()
    def update(self, params: Params, grads: Grads) -> None:
        self.rest.update({name: weight for name, weight in params.items() if name not in self.momentum}, grads)
        for name, momentum in self.momentum.items():
            weight, grad, decay = params[name], grads[name], like(self.own.muon_momentum, grads[name])
            momentum.lerp_(grad, 1 - decay)
            matrix_SOI = grad.lerp(momentum, decay).flatten(2)
            precise = matrix_SOI if self.own.muon_precision == "step" else matrix_SOI.bfloat16()
            change = orthogonal(precise, self.as_torch).to(weight.dtype).reshape(weight.shape)
            if is_used(self.weight_decay):
                weight.mul_(like(1 - self.step_size * self.weight_decay, weight))
            add_(weight, change * max(1, weight.shape[-2] / weight.shape[-1]) ** 0.5, -self.step_size)

    def moments(self, name: str) -> list[Tensor]:
        return [self.momentum[name]] if name in self.momentum else self.rest.moments(name)

    def counts(self, name: str) -> list[Tensor]:
        return [] if name in self.momentum else self.rest.counts(name)

    def state(self) -> dict[str, Tensor]:
        return {f"momentum.{name}": tensor for name, tensor in self.momentum.items()} | self.rest.state()

    def is_unused(self, name: str, run: int) -> bool:
        return False


def orthogonal(matrix_SOI: Tensor, as_torch: bool) -> Tensor:
    """Return the matrices with singular values close to 1, (S, O, I)."""
    a, b, c = COEFFICIENTS
    is_tall = matrix_SOI.shape[1] > matrix_SOI.shape[2]
    x = matrix_SOI.mT if is_tall else matrix_SOI
    norm_S11 = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    x = x / (norm_S11.clamp(min=EPSILON) if as_torch else norm_S11 + EPSILON)
    for _ in range(NUM_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if is_tall else x
