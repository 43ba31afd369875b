"""A multi-layer perceptron with a twist: a linear path beside the hidden layer."""

from math import prod, sqrt

import torch.nn.functional as F
from pydantic import Field

from lop_engine.experiment import components as describe
from lop_engine.experiment.fields import Fields
from lop_engine.networks.layers import NO_BUFFERS, Activations, Hidden, Layer, Network, linear


class Keys(Fields):
    units: int = Field(8, ge=1, description="Hidden units.")


class Skipping(Network):
    def __init__(self, spec, input_shape, num_outputs):
        inputs, units = prod(input_shape), spec.own(Keys).units
        self.layers = (Layer("fc1", inputs, units), Layer("fc2", units, num_outputs))
        self.weight_bounds = {layer.name: 1 / sqrt(layer.fan_in) for layer in self.layers}
        self.bias_bounds = dict.fromkeys(self.weight_bounds, 0.0)
        self.num_outputs = num_outputs

    def __call__(self, params, inputs_SB, buffers=NO_BUFFERS, training=False):
        x = inputs_SB.flatten(2)
        hidden = F.relu(linear(params, self.layers[0], x))
        beside = x[:, :, : self.num_outputs] / 10
        return Activations(linear(params, self.layers[1], hidden) + beside, [Hidden(hidden)])


NETWORK = describe.Network(
    name="skipping",
    title="MLP with a skip",
    sentence="One hidden layer, and the first inputs added to the outputs.",
    fields=Keys,
    provides=frozenset({"hidden units"}),
    num_hidden=1,
    code=Skipping,
)
