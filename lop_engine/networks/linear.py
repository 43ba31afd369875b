"""The linear baseline."""

from math import prod, sqrt

from torch import Tensor

from lop_engine.experiment.spec import Spec
from lop_engine.networks.layers import NO_BUFFERS, Activations, Buffers, Layer, Network, Params, linear


class Linear(Network):
    """One layer from the flattened input to the outputs; the layer is the head.

    Its weight starts from Kaiming's uniform for a linear gain, b = sqrt(3 / fan_in), its bias from zero.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        self.layers = (Layer("fc", prod(input_shape), num_outputs),)
        self.weight_bounds, self.bias_bounds = {"fc": sqrt(3 / self.layers[0].fan_in)}, {"fc": 0.0}

    def __call__(
        self, params: Params, inputs_SB: Tensor, buffers: Buffers = NO_BUFFERS, training: bool = False
    ) -> Activations:
        return Activations(linear(params, self.layers[0], inputs_SB.flatten(2)), [])


def build(spec: Spec, input_shape: tuple[int, ...], num_outputs: int) -> Linear:
    return Linear(input_shape, num_outputs)
