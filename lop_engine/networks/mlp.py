"""A multi-layer perceptron."""

from math import prod, sqrt

from torch import Tensor

from lop_engine.experiment import networks as described
from lop_engine.experiment.spec import Spec
from lop_engine.networks.activations import ACTIVATIONS
from lop_engine.networks.layers import NO_BUFFERS, Activations, Buffers, FeedForward, Layer, Params


class MLP(FeedForward):
    """Hidden linear layers of one width, and a head; the input is flattened.

    Weights start from Kaiming's uniform, b = gain * sqrt(3 / fan_in), with the activation's gain for hidden layers and
    1 for the head; biases from zero. This is the reference's network of Online Permuted MNIST.

    Args:
        own: number and width of hidden layers, activation and layer normalisation.
    """

    def __init__(self, own: described.MLP, input_shape: tuple[int, ...], num_outputs: int) -> None:
        self.activation = ACTIVATIONS[own.activation]
        self.is_non_negative = self.activation.is_non_negative
        copies, units = self.activation.copies, described.units_of_mlp(own, input_shape, num_outputs)
        sizes = [units] * own.num_hidden_layers + [num_outputs]
        self.layers = tuple(
            Layer(f"fc{i}", copies * units if i > 1 else prod(input_shape), size, copies=copies if i > 1 else 1)
            for i, size in enumerate(sizes, start=1)
        )
        if own.layer_norm:
            self.norms = {f"layer_norm{i}": (units,) for i in range(1, own.num_hidden_layers + 1)}
        gains = [self.activation.gain] * own.num_hidden_layers + [1.0]
        self.weight_bounds = {
            layer.name: gain * sqrt(3 / layer.fan_in) for layer, gain in zip(self.layers, gains, strict=True)
        }
        self.bias_bounds = {layer.name: 0.0 for layer in self.layers}

    def __call__(
        self, params: Params, inputs_SB: Tensor, buffers: Buffers = NO_BUFFERS, training: bool = False
    ) -> Activations:
        return self.linear_layers(params, 0, inputs_SB.flatten(2))


def build(spec: Spec, input_shape: tuple[int, ...], num_outputs: int) -> MLP:
    return MLP(spec.own(described.MLP), input_shape, num_outputs)
