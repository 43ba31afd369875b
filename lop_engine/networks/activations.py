"""The activation functions of hidden units."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """A function of a unit's input."""

    function: Callable[[Tensor], Tensor]
    gain: float
    """For the initial weights, as of torch.nn.init.calculate_gain in the reference."""
    copies: int = 1
    """Outputs of each unit: CReLU (Shang et al. 2016) passes on x and -x."""
    is_monotonic: bool = True
    """Whether it never falls, so that it commutes with max-pooling."""
    is_non_negative: bool = False

    def signs(self, x: Tensor, dim: int) -> Tensor:
        """The inputs of all outputs: x, or x and -x side by side."""
        return x if self.copies == 1 else torch.cat([x, -x], dim)

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs (S, B, copies * F, ...) of the units' inputs (S, B, F, ...)."""
        return self.function(self.signs(x, 2))


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation(F.relu, sqrt(2), is_non_negative=True),
    "crelu": Activation(F.relu, sqrt(2), copies=2, is_non_negative=True),
    "leaky_relu": Activation(F.leaky_relu, sqrt(2)),
    "elu": Activation(F.elu, sqrt(2)),
    "swish": Activation(F.silu, sqrt(2), is_monotonic=False),
    "tanh": Activation(torch.tanh, 5 / 3),
    "sigmoid": Activation(torch.sigmoid, 1.0, is_non_negative=True),
}
