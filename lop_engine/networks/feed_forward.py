"""What the networks with hidden units have in common: an activation, and linear layers at the end.

Dimensions: S seeds, B batch, I inputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lop_engine.networks.activations import Activation
from lop_engine.networks.layers import Activations, Hidden, Network, Params, linear, normalised


class FeedForward(Network):
    """Layers one after another, all linear from number `first_linear` on."""

    activation: Activation
    first_linear = 0

    @property
    def slopes(self) -> dict[str, float]:
        """By name, the initial value of each hidden layer's slope, if the activation learns it."""
        start = self.activation.slope
        return {} if start is None else {f"prelu{i}.weight": start for i in range(1, len(self.layers))}

    def init(self, seeds: Sequence[int], device: torch.device, dtype: torch.dtype = torch.float32) -> Params:
        """The seeds' initial weights, and slopes (S, 1)."""
        slopes = {
            name: torch.full((len(seeds), 1), start, device=device, dtype=dtype) for name, start in self.slopes.items()
        }
        return super().init(seeds, device, dtype) | slopes

    def names_of(self, index: int) -> list[str]:
        return super().names_of(index) + list(self.slopes)[index : index + 1]

    def activation_of(self, params: Params, index: int) -> Activation:
        """The activation of hidden layer `index`."""
        return self.activation.with_slope(params[list(self.slopes)[index]]) if self.slopes else self.activation

    def linear_layers(self, params: Params, start: int, x_SBI: Tensor) -> Activations:
        """Compute outputs and hidden activations of the layers from number `start` on, given their inputs."""
        hidden = []
        for index in range(start, len(self.hidden_layers)):
            x_SBI = linear(params, self.layers[index], x_SBI)
            norm = self.norm_of(index)
            x_SBI = self.activation_of(params, index)(normalised(params, norm, x_SBI) if norm else x_SBI)
            hidden.append(Hidden(x_SBI))
        return Activations(linear(params, self.layers[-1], x_SBI), hidden)
