"""Networks over a leading seed axis.

Dimensions: S seeds, B batch, C channels, H W image sides, K kernel side, I inputs, O outputs,
F units of a hidden layer, P positions (columns of the next layer that one unit feeds).

A network is a description plus pure functions: its weights are a dict of tensors, ``conv1.weight`` ...
``fc3.bias`` with torch's shapes behind the seed axis. Convolution weights are channels-last in memory;
`lop_engine.convolution` computes the convolutions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from lop_engine.convolution import hidden_maps
from lop_engine.spec import Spec
from lop_engine.streams import Stream, torch_seed

Params = dict[str, Tensor]


@dataclass(frozen=True)
class Layer:
    """One layer of weights. `kernel` 0 is a linear layer; `positions` is P of the layer below it."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 0
    positions: int = 1

    @property
    def fan_in(self) -> int:
        return self.inputs * self.positions * max(1, self.kernel) ** 2

    @property
    def weight_shape(self) -> tuple[int, ...]:
        kernel = (self.kernel, self.kernel) if self.kernel else ()
        return (self.outputs, self.inputs * self.positions, *kernel)


@dataclass(frozen=True)
class Activations:
    """What a forward pass leaves: `logits_SBO`, and the activations of each hidden layer.

    A hidden layer's activations are after pooling and ReLU, so never negative: (S, B, F) or (S, B, F, H, W).
    """

    logits_SBO: Tensor
    hidden: list[Tensor]


class ConvNet:
    """The paper's network: three convolutions with ReLU and 2x2 max-pool, two hidden linear layers, a head.

    32 -> 28 -> 14 -> 12 -> 6 -> 4 -> 2; 177,218 parameters at `width` 1 with 2 outputs.

    Args:
        num_outputs: classes a task.
        width: factor on the number of units of every hidden layer.
    """

    def __init__(self, num_outputs: int, width: float = 1.0) -> None:
        c1, c2, c3, f1, f2 = (max(1, round(units * width)) for units in (32, 64, 128, 128, 128))
        self.layers = (
            Layer("conv1", 3, c1, kernel=5),
            Layer("conv2", c1, c2, kernel=3),
            Layer("conv3", c2, c3, kernel=3),
            Layer("fc1", c3, f1, positions=4),
            Layer("fc2", f1, f2),
            Layer("fc3", f2, num_outputs),
        )

    def __call__(self, params: Params, images_SBCHW: Tensor) -> Activations:
        num_seeds, batch = images_SBCHW.shape[:2]
        weights = [(params[f"{layer.name}.weight"], params[f"{layer.name}.bias"]) for layer in self.layers[:3]]
        hidden = hidden_maps(images_SBCHW, weights)
        x = hidden[-1].reshape(num_seeds, batch, -1)
        for layer in self.layers[3:5]:
            x = F.relu(_linear(params, layer, x))
            hidden.append(x)
        return Activations(_linear(params, self.layers[5], x), hidden)

    def init(self, seeds: Sequence[int], device: torch.device) -> Params:
        """torch's default initialisation: weights and biases ~ U(-b, b), b = 1 / sqrt(fan_in)."""
        bounds = {layer.name: 1 / sqrt(layer.fan_in) for layer in self.layers}
        return _uniform_params(self.layers, seeds, device, bounds, bounds)


class Linear:
    """The linear baseline: one layer from the flattened image to the classes; the layer is the head."""

    def __init__(self, num_outputs: int) -> None:
        self.layers = (Layer("fc", 3 * 32 * 32, num_outputs),)

    def __call__(self, params: Params, images_SBCHW: Tensor) -> Activations:
        return Activations(_linear(params, self.layers[0], images_SBCHW.flatten(2)), [])

    def init(self, seeds: Sequence[int], device: torch.device) -> Params:
        """Kaiming-uniform weight for a linear gain, b = sqrt(3 / fan_in), and zero bias."""
        bounds = {"fc": sqrt(3 / self.layers[0].fan_in)}
        return _uniform_params(self.layers, seeds, device, bounds, {"fc": 0.0})


Net = ConvNet | Linear


def build_net(spec: Spec) -> Net:
    """The network of a spec."""
    return Linear(spec.num_classes) if spec.method == "linear" else ConvNet(spec.num_classes, spec.width)


def seed_generators(
    seeds: Sequence[int], stream: Stream, *counters: int, device: torch.device
) -> list[torch.Generator]:
    """One generator a seed, which depends on (seed, stream, counters) alone."""
    return [torch.Generator(device).manual_seed(torch_seed(seed, stream, *counters)) for seed in seeds]


def _linear(params: Params, layer: Layer, x_SBI: Tensor) -> Tensor:
    return torch.baddbmm(params[f"{layer.name}.bias"].unsqueeze(1), x_SBI, params[f"{layer.name}.weight"].mT)


def _uniform_params(
    layers: Sequence[Layer],
    seeds: Sequence[int],
    device: torch.device,
    weight_bounds: dict[str, float],
    bias_bounds: dict[str, float],
) -> Params:
    # Drawn on the CPU: a seed starts from the same weights on every device.
    generators = seed_generators(seeds, Stream.INITIALISATION, device=torch.device("cpu"))
    params: Params = {}
    for layer in layers:
        for name, shape, bound in (
            ("weight", layer.weight_shape, weight_bounds[layer.name]),
            ("bias", (layer.outputs,), bias_bounds[layer.name]),
        ):
            drawn = [torch.rand(shape, generator=g) * (2 * bound) - bound for g in generators]
            params[f"{layer.name}.{name}"] = channels_last(torch.stack(drawn)).to(device)
    return params


def channels_last(weight: Tensor) -> Tensor:
    """Lay a (S, O, I, K, K) weight out in memory as S, O, K, K, I; leave others as they are."""
    if weight.dim() != 5:
        return weight.contiguous()
    return weight.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
