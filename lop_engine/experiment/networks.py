"""Descriptions of the networks."""

from math import prod
from typing import Literal

from pydantic import Field

from lop_engine.experiment.components import OF_NETWORKS, Network, Size
from lop_engine.experiment.fields import Fields, Flag, Int

Activation = Literal["relu", "crelu", "leaky_relu", "elu", "swish", "tanh", "sigmoid"]


class HiddenUnits(Fields):
    """Options of every network with hidden units."""

    activation: Activation = Field(
        "relu", description="Of the hidden units; crelu passes on both relu(x) and relu(-x) of each unit."
    )
    layer_norm: Flag = Field(False, description="Normalise each hidden layer, with a learned scale and shift.")


class ConvNet(HiddenUnits):
    width: float = Field(1.0, gt=0, le=8, description="Factor on the number of units of every hidden layer.")


class MLP(HiddenUnits):
    num_features: Int = Field(100, ge=1, description="Units of a hidden layer.")
    num_hidden_layers: Int = Field(3, ge=1, le=100, description="Hidden layers.")


def _copies(own: HiddenUnits) -> int:
    """Outputs of a unit."""
    return 2 if own.activation == "crelu" else 1


def _size_of_conv_net(own: ConvNet, input_shape: tuple[int, ...], num_outputs: int) -> Size:
    """Apart from the rounding of its widths; 350 kB of an example at 32 x 32 pixels and width 1."""
    channels, *sides = input_shape
    copies, width = _copies(own), own.width
    positions = prod(((((side - 4) // 2 - 2) // 2) - 2) // 2 for side in sides)
    between_hidden = copies * (18_432 + 73_728 + 16_384 * positions + 16_384)
    others = 800 * channels + 480 + copies * 128 * num_outputs
    parameters = int(between_hidden * width**2 + others * width) + num_outputs
    return Size(parameters, int(copies * width * 350_000 * prod(sides) / 1024))


def _size_of_mlp(own: MLP, input_shape: tuple[int, ...], num_outputs: int) -> Size:
    outputs = _copies(own) * own.num_features
    inputs = [prod(input_shape), *[outputs] * own.num_hidden_layers]
    units = [*[own.num_features] * own.num_hidden_layers, num_outputs]
    parameters = sum((1 + fan_in) * fan_out for fan_in, fan_out in zip(inputs, units, strict=True))
    return Size(parameters, 32 * sum(inputs))


CONV_NET = Network(
    name="conv_net",
    title="ConvNet",
    sentence="Three convolutions with 2 x 2 max-pooling, two hidden linear layers and an output layer.",
    source="dohare2024loss",
    fields=ConvNet,
    needs=frozenset({"images"}),
    provides=OF_NETWORKS,
    code="lop_engine.networks.conv_net:build",
    num_hidden=lambda own: 5,
    size=_size_of_conv_net,
)

MLP_ = Network(
    name="mlp",
    title="MLP",
    sentence="Hidden linear layers of one width, and an output layer; images are flattened.",
    source="dohare2024loss",
    fields=MLP,
    provides=OF_NETWORKS,
    code="lop_engine.networks.mlp:build",
    num_hidden=lambda own: own.num_hidden_layers,
    size=_size_of_mlp,
)

LINEAR = Network(
    name="linear",
    title="linear",
    sentence="One linear layer from the flattened input to the outputs.",
    source="dohare2024loss",
    code="lop_engine.networks.linear:build",
    num_hidden=lambda own: 0,
    size=lambda own, shape, num_outputs: Size((1 + prod(shape)) * num_outputs, 32 * prod(shape)),
)

NETWORKS = (CONV_NET, MLP_, LINEAR)
