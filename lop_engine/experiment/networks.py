"""Descriptions of the networks."""

from typing import Literal

from pydantic import Field

from lop_engine.experiment.components import Network
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


CONV_NET = Network(
    name="conv_net",
    title="ConvNet",
    sentence="Three convolutions with 2 x 2 max-pooling, two hidden linear layers and an output layer.",
    source="dohare2024loss",
    fields=ConvNet,
    needs=frozenset({"images"}),
    provides=frozenset({"hidden units"}),
    code="lop_engine.networks.conv_net:build",
    num_hidden=lambda own: 5,
)

MLP_ = Network(
    name="mlp",
    title="MLP",
    sentence="Hidden linear layers of one width, and an output layer; images are flattened.",
    source="dohare2024loss",
    fields=MLP,
    provides=frozenset({"hidden units"}),
    code="lop_engine.networks.mlp:build",
    num_hidden=lambda own: own.num_hidden_layers,
)

LINEAR = Network(
    name="linear",
    title="linear",
    sentence="One linear layer from the flattened input to the outputs.",
    source="dohare2024loss",
    code="lop_engine.networks.linear:build",
    num_hidden=lambda own: 0,
)

NETWORKS = (CONV_NET, MLP_, LINEAR)
