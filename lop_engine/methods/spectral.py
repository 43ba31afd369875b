"""Spectral regularisation (Lewandowski et al., ICLR 2025): a penalty on largest singular values other than 1.

The loss gains spectral_strength x sum (sigma^k - 1)^2 over the weights of all layers, where sigma is the largest
singular value of the weight as a matrix (outputs, everything else) and k is `spectral_power`. With `spectral_biases`
it also gains spectral_strength x sum ||b||^(2k) over their biases, which are thereby drawn to 0.

The singular values are exact: with P the projection on the leading eigenvector of W W^T, sigma^2 = <P, W W^T>, and the
gradient is that of this product with P constant. P is what repeated squaring of W W^T tends to. A decomposition would
make the host wait for a GPU, which a CUDA graph cannot, and takes three times as long on a CPU. Squaring a matrix of
M x M for each layer is what a step costs more than one of backprop: on a CPU core 1.2 times as much with the paper's
network and batches of 100, and 1.8 times with half its width and batches of 20, where the rest of a step is small.

Dimensions: S runs, O outputs, I inputs, M the smaller of them.
"""

import torch
from torch import Tensor

from lop_engine.device import unrounded
from lop_engine.experiment import methods_of_weights as described
from lop_engine.methods.method import Method, Setup
from lop_engine.methods.runs import like
from lop_engine.networks import Params

SQUARINGS = 16
"""Distinguishes eigenvalues that differ by more than one part in 2^16."""


class Spectral(Method):
    """Adds the penalty."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.Spectral)
        layers = setup.network.layers if self.own.spectral_head else setup.network.hidden_layers
        self.names = [layer.name for layer in layers]

    def penalty(self, params: Params) -> Tensor:
        power = self.own.spectral_power
        with unrounded(self.setup.device.type):
            largest = [square_of_largest(params[f"{name}.weight"].flatten(2)) for name in self.names]
        parts = [_power(square_S, power / 2).sub(1).square() for square_S in largest]
        if self.own.spectral_biases:
            parts += [_power(params[f"{name}.bias"].square().sum(1), power) for name in self.names]
        penalty_S = torch.stack(parts).sum(0)
        return penalty_S * like(self.own.spectral_strength, penalty_S)


def square_of_largest(weight: Tensor) -> Tensor:
    """Return the square of the largest singular value of each matrix (S, O, I): (S,), differentiable."""
    product = weight @ weight.mT if weight.shape[1] <= weight.shape[2] else weight.mT @ weight
    return (leading(product.detach()) * product).sum((1, 2))


def leading(product: Tensor) -> Tensor:
    """Return the projection on the leading eigenvector of symmetric matrices (S, M, M) without negative eigenvalues.

    The mean of the projections where several eigenvalues are the largest; 0 for a matrix of zeros.
    """
    power = _with_trace_1(product)
    for _ in range(SQUARINGS):
        power = _with_trace_1(power @ power)
    return power


def _with_trace_1(matrix: Tensor) -> Tensor:
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)
    return matrix / trace.clamp(min=torch.finfo(matrix.dtype).tiny)[:, None, None]


def _power(square_S: Tensor, exponent: float) -> Tensor:
    """Return square^exponent, with gradient 0 at 0."""
    return square_S.clamp(min=torch.finfo(square_S.dtype).tiny) ** exponent
