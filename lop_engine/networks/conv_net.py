"""The paper's convolutional network."""

from math import sqrt

from torch import Tensor

from lop_engine.experiment import networks as described
from lop_engine.experiment.spec import Spec
from lop_engine.networks.activations import ACTIVATIONS
from lop_engine.networks.convolution import Norm, hidden_maps
from lop_engine.networks.layers import NO_BUFFERS, Activations, Buffers, FeedForward, Layer, Params


class ConvNet(FeedForward):
    """Three convolutions with 2x2 max-pool, two hidden linear layers, a head.

    32 -> 28 -> 14 -> 12 -> 6 -> 4 -> 2; 177,218 parameters at width 1 with 2 outputs. Weights and biases start from
    torch's default, U(-b, b) with b = 1 / sqrt(fan_in).

    Args:
        own: width, activation and layer normalisation.
        input_shape: (C, H, W) of an image.
    """

    first_linear = 3

    def __init__(self, own: described.ConvNet, input_shape: tuple[int, ...], num_outputs: int) -> None:
        self.activation = ACTIVATIONS[own.activation]
        self.is_non_negative = self.activation.is_non_negative
        copies = self.activation.copies
        c1, c2, c3, f1, f2 = described.units_of_conv_net(own, input_shape, num_outputs)
        sides = _sides(input_shape[1:])
        (height, width), positions = sides[-1], (sides[-1][0] // 2) * (sides[-1][1] // 2)
        if min(height, width) < 2:
            raise ValueError(f"images of {input_shape[1]} x {input_shape[2]} are too small for a ConvNet")
        self.layers = (
            Layer("conv1", input_shape[0], c1, kernel=5),
            Layer("conv2", copies * c1, c2, kernel=3, copies=copies),
            Layer("conv3", copies * c2, c3, kernel=3, copies=copies),
            Layer("fc1", copies * c3, f1, positions=positions, copies=copies),
            Layer("fc2", copies * f1, f2, copies=copies),
            Layer("fc3", copies * f2, num_outputs, copies=copies),
        )
        if own.layer_norm:
            maps = [(units, *side) for units, side in zip((c1, c2, c3), sides, strict=True)]
            self.norms = {f"layer_norm{i}": shape for i, shape in enumerate([*maps, (f1,), (f2,)], start=1)}
        self.weight_bounds = self.bias_bounds = {layer.name: 1 / sqrt(layer.fan_in) for layer in self.layers}

    def __call__(
        self, params: Params, inputs_SB: Tensor, buffers: Buffers = NO_BUFFERS, training: bool = False
    ) -> Activations:
        num_seeds, batch = inputs_SB.shape[:2]
        weights = [(params[f"{layer.name}.weight"], params[f"{layer.name}.bias"]) for layer in self.layers[:3]]
        norms = [Norm(params[f"{name}.weight"], params[f"{name}.bias"]) for name in list(self.norms)[:3]]
        slopes = [params[name] for name in list(self.slopes)[:3]]
        hidden = hidden_maps(inputs_SB, weights, activation=self.activation, norms=norms, slopes=slopes)
        last = self.linear_layers(params, self.first_linear, hidden[-1].activation.reshape(num_seeds, batch, -1))
        return Activations(last.outputs_SBO, hidden + last.hidden)


def _sides(image: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return height and width of the maps of each convolution, before pooling."""
    height, width = image
    sides = []
    for kernel in (5, 3, 3):
        height, width = height - kernel + 1, width - kernel + 1
        sides.append((height, width))
        height, width = height // 2, width // 2
    return sides


def build(spec: Spec, input_shape: tuple[int, ...], num_outputs: int) -> ConvNet:
    return ConvNet(spec.own(described.ConvNet), input_shape, num_outputs)
