"""The weights of a fresh network in every step, drawn from the initial distribution.

Dimensions: S runs, N numbers a step.
"""

from torch import Tensor

from lop_engine.methods.method import Setup
from lop_engine.methods.step_numbers import like_weights
from lop_engine.networks import Params


class FreshWeights:
    """Draws every layer's weight and bias from U(-b, b), with the network's bounds b.

    What starts from constants, such as the scale and shift of layer normalisation, has its initial values.

    Args:
        params: the initial weights.
    """

    def __init__(self, setup: Setup, params: Params) -> None:
        network = setup.network
        bounds = {"weight": network.weight_bounds, "bias": network.bias_bounds}
        self._bounds = {
            f"{layer.name}.{kind}": bounds[kind][layer.name] for layer in network.layers for kind in ("weight", "bias")
        }
        self._drawn = {name: params[name].detach() for name in self._bounds}
        self._constant = {name: weight.detach().clone() for name, weight in params.items() if name not in self._bounds}
        self.numbers = setup.step_numbers(sum(weight[0].numel() for weight in self._drawn.values()), Tensor.uniform_)
        self.numbers_SN = self.numbers.of_step_SN
        self.start_epoch, self.draw = self.numbers.start_epoch, self.numbers.draw

    def of_step(self) -> Params:
        """The fresh weights of this step, by name."""
        numbers = like_weights(self.numbers_SN, self._drawn)
        drawn = {name: part * (2 * self._bounds[name]) - self._bounds[name] for name, part in numbers.items()}
        return drawn | self._constant
