"""What the networks with hidden units have in common: an activation, and linear layers at the end.

Dimensions: S seeds, B batch, I inputs.
"""

from torch import Tensor

from lop_engine.networks.activations import Activation
from lop_engine.networks.layers import Activations, Hidden, Network, Params, linear, normalised


class FeedForward(Network):
    """Layers one after another, all linear from number `first_linear` on."""

    activation: Activation
    first_linear = 0

    def linear_layers(self, params: Params, start: int, x_SBI: Tensor) -> Activations:
        """Compute outputs and hidden activations of the layers from number `start` on, given their inputs."""
        hidden = []
        for index in range(start, len(self.hidden_layers)):
            x_SBI = linear(params, self.layers[index], x_SBI)
            norm = self.norm_of(index)
            x_SBI = self.activation(normalised(params, norm, x_SBI) if norm else x_SBI)
            hidden.append(Hidden(x_SBI))
        return Activations(linear(params, self.layers[-1], x_SBI), hidden)
