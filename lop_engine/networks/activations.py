"""The activation functions of hidden units."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import pi, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """A function of a unit's input.

    A unit is one input of this function: a row of its layer's weight, with a bias. It may have two outputs, which the
    layer above gets as two blocks. Methods and metrics that choose among units choose among inputs.
    """

    function: Callable[[Tensor], Tensor]
    gain: float
    """Gain of the initial weights, as in torch.nn.init.calculate_gain in the reference."""
    second: Callable[[Tensor], Tensor] | None = None
    """For units with two outputs: the second is `function` of this."""
    is_monotonic: bool = True
    """Whether it never decreases, so that it commutes with max-pooling."""
    is_non_negative: bool = False
    slope: float | None = None
    """Initial slope for negative inputs, if it is learned, one for each layer; `function` is set by `with_slope`."""

    @property
    def copies(self) -> int:
        """Return the outputs of each unit."""
        return 1 if self.second is None else 2

    def arguments(self, x: Tensor, dim: int) -> Tensor:
        """Return the function's arguments: the inputs of all units, followed by those of their second outputs."""
        return x if self.second is None else torch.cat([x, self.second(x)], dim)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs (S, B, copies * F, ...) for the units' inputs (S, B, F, ...)."""
        return self.function(self.arguments(x, 2))

    def with_slope(self, slope_S1: Tensor) -> "Activation":
        """Return the function with a layer's slopes, one per seed, for inputs (S, B, F, ...)."""

        def sloped(x: Tensor) -> Tensor:
            return torch.where(x > 0, x, x * slope_S1.to(x.dtype).view(-1, *[1] * (x.dim() - 1)))

        return replace(self, function=sloped)


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation(F.relu, sqrt(2), is_non_negative=True),
    "crelu": Activation(F.relu, sqrt(2), second=torch.neg, is_non_negative=True),  # Shang et al. 2016
    "leaky_relu": Activation(F.leaky_relu, sqrt(2)),
    "prelu": Activation(F.relu, sqrt(2), is_monotonic=False, slope=0.25),  # He et al. 2015; torch's slope
    "elu": Activation(F.elu, sqrt(2)),
    "swish": Activation(F.silu, sqrt(2), is_monotonic=False),
    "tanh": Activation(torch.tanh, 5 / 3),
    "sigmoid": Activation(torch.sigmoid, 1.0, is_non_negative=True),
    # sin(x) and cos(x): deep Fourier features, Lewandowski et al. 2025
    "fourier": Activation(torch.sin, sqrt(2), second=lambda x: x + pi / 2, is_monotonic=False),
}
