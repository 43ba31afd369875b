"""Descriptions of the networks."""

from math import prod
from typing import Literal

from pydantic import Field

from lop_engine.experiment.components import OF_NETWORKS, Network, Size
from lop_engine.experiment.fields import Fields, Flag, Int

Activation = Literal["relu", "crelu", "leaky_relu", "prelu", "elu", "swish", "tanh", "sigmoid", "fourier"]
WITH_TWO_OUTPUTS = ("crelu", "fourier")
"""Activations with two outputs per unit."""


class HiddenUnits(Fields):
    """Options of every network with hidden units."""

    activation: Activation = Field(
        "relu",
        description="Activation of the hidden units. crelu passes on both relu(x) and relu(-x) of each unit, fourier "
        "sin(x) and cos(x); prelu learns its slope for negative inputs, one for each layer.",
    )
    narrow: Flag = Field(
        False,
        description="With crelu and fourier, have fewer units, so that there are about as many weights as with relu.",
    )
    layer_norm: Flag = Field(False, description="Normalise each hidden layer, with a learned scale and shift.")


class ConvNet(HiddenUnits):
    width: float = Field(1.0, gt=0, le=8, description="Multiplies the number of units of every hidden layer.")


class MLP(HiddenUnits):
    num_features: Int = Field(100, ge=1, description="Units of each hidden layer.")
    num_hidden_layers: Int = Field(3, ge=1, le=100, description="Number of hidden layers.")


def _copies(own: HiddenUnits) -> int:
    """Return the number of outputs of a unit."""
    return 2 if own.activation in WITH_TWO_OUTPUTS else 1


def units_of_conv_net(own: ConvNet, input_shape: tuple[int, ...], num_outputs: int) -> tuple[int, ...]:
    """Return the numbers of units of the hidden layers."""
    units = _units(own.width)
    if not own.narrow or _copies(own) == 1:
        return units
    most = _weights_of_conv_net(units, 1, input_shape, num_outputs)
    narrower = (_units(own.width * step / 1000) for step in range(1000, 0, -1))
    fit = (one for one in narrower if _weights_of_conv_net(one, _copies(own), input_shape, num_outputs) <= most)
    return next(fit, _units(0))


def _units(width: float) -> tuple[int, ...]:
    return tuple(max(1, round(units * width)) for units in (32, 64, 128, 128, 128))


def _weights_of_conv_net(units: tuple[int, ...], copies: int, input_shape: tuple[int, ...], num_outputs: int) -> int:
    """Return the number of weights and biases."""
    channels, *sides = input_shape
    positions = prod(((((side - 4) // 2 - 2) // 2) - 2) // 2 for side in sides)
    inputs = [channels, *(copies * one for one in units)]
    entries = (25, 9, 9, positions, 1, 1)  # per weight, for each input and output
    layers = zip(inputs, entries, (*units, num_outputs), strict=True)
    return sum((fan_in * entry + 1) * fan_out for fan_in, entry, fan_out in layers)


def _size_of_conv_net(own: ConvNet, input_shape: tuple[int, ...], num_outputs: int) -> Size:
    """Return the size; 350 kB per example at 32 x 32 pixels and width 1."""
    units, copies = units_of_conv_net(own, input_shape, num_outputs), _copies(own)
    parameters = _weights_of_conv_net(units, copies, input_shape, num_outputs)
    return Size(parameters, int(copies * own.width * 350_000 * prod(input_shape[1:]) / 1024))


def units_of_mlp(own: MLP, input_shape: tuple[int, ...], num_outputs: int) -> int:
    """Return the number of units of a hidden layer."""
    units = own.num_features
    if not own.narrow or _copies(own) == 1:
        return units
    most = _weights_of_mlp(own, units, 1, input_shape, num_outputs)
    fewer = range(units, 0, -1)
    return next((n for n in fewer if _weights_of_mlp(own, n, _copies(own), input_shape, num_outputs) <= most), 1)


def _weights_of_mlp(own: MLP, units: int, copies: int, input_shape: tuple[int, ...], num_outputs: int) -> int:
    inputs = [prod(input_shape), *[copies * units] * own.num_hidden_layers]
    outputs = [*[units] * own.num_hidden_layers, num_outputs]
    return sum((1 + fan_in) * fan_out for fan_in, fan_out in zip(inputs, outputs, strict=True))


def _size_of_mlp(own: MLP, input_shape: tuple[int, ...], num_outputs: int) -> Size:
    units, copies = units_of_mlp(own, input_shape, num_outputs), _copies(own)
    parameters = _weights_of_mlp(own, units, copies, input_shape, num_outputs)
    return Size(parameters, 32 * (prod(input_shape) + copies * units * own.num_hidden_layers))


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
