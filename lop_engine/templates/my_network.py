"""my_network, a network of your own: a multi-layer perceptron with a linear path beside its hidden layers.

It is an example to change. A worker trains several seeds at once: the first axis S of every tensor is the seed; do not
mix seeds. Weights are not attributes: they come as `params`, by name.
"""

from math import prod, sqrt

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lop_engine.experiment import components as describe
from lop_engine.experiment.fields import Fields, Int
from lop_engine.experiment.spec import Spec
from lop_engine.networks.layers import NO_BUFFERS, Activations, Buffers, Hidden, Layer, Network, Params, linear


class Keys(Fields):
    """The network's own keys in an experiment file, with bounds, default and help."""

    units: Int = Field(32, ge=1, description="Units of each hidden layer.")


class MyNetwork(Network):
    """Two hidden layers, and the first inputs added to the outputs.

    Args:
        input_shape: of one example: (channels, height, width) of an image, (numbers,) of a vector.
    """

    def __init__(self, spec: Spec, input_shape: tuple[int, ...], num_outputs: int) -> None:
        inputs, units = prod(input_shape), spec.own(Keys).units
        # From these layers come the weights "fc1.weight" (S, units, inputs), "fc1.bias" (S, units) and so on. The last
        # is the output layer; methods and metrics look at the units of the others.
        self.layers = (Layer("fc1", inputs, units), Layer("fc2", units, units), Layer("fc3", units, num_outputs))
        # Initial weights are drawn from -b to b, each seed's from its own stream.
        self.weight_bounds = {layer.name: 1 / sqrt(layer.fan_in) for layer in self.layers}
        self.bias_bounds = dict.fromkeys(self.weight_bounds, 0.0)
        self.is_non_negative = True  # hidden activations are never negative
        self.num_outputs = num_outputs

    def __call__(
        self, params: Params, inputs_SB: Tensor, buffers: Buffers = NO_BUFFERS, training: bool = False
    ) -> Activations:
        """Return outputs (S, B, O) and hidden activations (S, B, units) of a batch (S, B, ...).

        For running statistics, make tensors in `buffers` and change them here in place if `training`.
        """
        x = inputs_SB.flatten(2)
        first = F.relu(linear(params, self.layers[0], x))
        second = F.relu(linear(params, self.layers[1], first))
        beside = F.pad(x[:, :, : self.num_outputs] / 10, (0, max(0, self.num_outputs - x.shape[2])))
        return Activations(linear(params, self.layers[2], second) + beside, [Hidden(first), Hidden(second)])


NETWORK = describe.Network(
    name="my_network",
    title="my network",
    sentence="Two hidden layers, and the first inputs added to the outputs.",
    fields=Keys,
    provides=frozenset({"hidden units"}),
    num_hidden=2,  # hidden layers; or the name of the key that holds their number
    code=MyNetwork,
)
