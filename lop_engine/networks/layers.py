"""Parts of every network: layers of weights, activations, and functions over a leading seed axis.

Dimensions: S seeds, B batch, C channels, H W image sides, K kernel side, I inputs, O outputs, F units of a hidden
layer, P positions (columns of the next layer that one output of a unit feeds).

A network is a description plus pure functions: its weights are a dict of tensors, ``conv1.weight`` ... ``fc3.bias``
with torch's shapes behind the seed axis. Convolution weights are channels-last in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from lop_engine.generators import seed_generators
from lop_engine.networks.activations import Activation
from lop_engine.streams import Stream

Params = dict[str, Tensor]
Buffers = dict[str, Tensor]
"""Tensors that a network keeps besides its weights and changes in place while it trains, each with a seed axis."""

NO_BUFFERS: Buffers = {}
NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Layer:
    """One layer of weights. `kernel` 0 is a linear layer; `positions` is P of the layer below it."""

    name: str
    inputs: int
    """Number of outputs of the layer below."""
    outputs: int
    """Number of units."""
    kernel: int = 0
    positions: int = 1
    copies: int = 1
    """Outputs of each unit of the layer below: 2 with crelu and fourier. They are blocks: f and F + f are unit f's."""

    @property
    def fan_in(self) -> int:
        return self.inputs * self.positions * max(1, self.kernel) ** 2

    @property
    def weight_shape(self) -> tuple[int, ...]:
        kernel = (self.kernel, self.kernel) if self.kernel else ()
        return (self.outputs, self.inputs * self.positions, *kernel)


class Hidden:
    """The activations of a hidden layer: (S, B, F) or (S, B, F, H, W); with crelu and fourier, 2 F.

    Args:
        activation: after pooling.
        before_pooling: computes them before pooling, for layers that pool.
        depends_on_weights: it reads the weights again, so a step must ask before it changes them.
        dtype: of both; by default the activation's.
    """

    def __init__(
        self,
        activation: Tensor,
        before_pooling: Callable[[], Tensor] | None = None,
        depends_on_weights: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._activation, self._before_pooling = activation, before_pooling
        self._depends_on_weights, self._dtype = depends_on_weights, dtype or activation.dtype

    @cached_property
    def activation(self) -> Tensor:
        """The activations after pooling; converted when first asked for."""
        return self._activation.to(self._dtype)

    @cached_property
    def before_pooling(self) -> Tensor:
        """The activations before pooling; computed when first asked for."""
        return self._before_pooling().to(self._dtype) if self._before_pooling else self.activation

    def to(self, dtype: torch.dtype, keep_maps: bool) -> "Hidden":
        """The same in another precision.

        Args:
            keep_maps: keep what `before_pooling` is computed from; else it is freed, and asking for it is an error.
        """
        before = self._before_pooling
        if before and not keep_maps:
            before = _freed
        elif before and self._depends_on_weights:
            maps = before()
            before = lambda: maps  # noqa: E731
        return Hidden(self._activation, before, dtype=dtype)


def _freed() -> Tensor:
    raise AssertionError("a method that looks at activations before pooling must set `looks_before_pooling`")


@dataclass(frozen=True)
class Activations:
    """Result of a forward pass: `outputs_SBO`, and the activations of each hidden layer."""

    outputs_SBO: Tensor
    hidden: list[Hidden]


class Network:
    """Base class of networks. Subclasses set `layers` and the bounds, and compute the outputs."""

    layers: tuple[Layer, ...]
    """The last is the output layer."""
    norms: Mapping[str, tuple[int, ...]] = {}
    """By name, the shape of each layer normalisation's weight and bias; the i-th is of the i-th hidden layer."""
    weight_bounds: Mapping[str, float]
    """By layer: initial weights ~ U(-b, b)."""
    bias_bounds: Mapping[str, float]
    is_non_negative: bool = False
    """Whether hidden activations are never negative, so that |h| = h."""

    def __call__(
        self, params: Params, inputs_SB: Tensor, buffers: Buffers = NO_BUFFERS, training: bool = False
    ) -> Activations:
        """Compute outputs and hidden activations of a batch (S, B, ...).

        Args:
            training: whether this is a training step, which may change `buffers` in place.
        """
        raise NotImplementedError

    @property
    def hidden_layers(self) -> tuple[Layer, ...]:
        return self.layers[:-1]

    def buffers(self, num_seeds: int, device: torch.device, dtype: torch.dtype) -> Buffers:
        """Return the initial buffers."""
        return {}

    def init(self, seeds: Sequence[int], device: torch.device, dtype: torch.dtype = torch.float32) -> Params:
        """Return the seeds' initial weights. Drawn on the CPU in float32: a seed is the same on every device."""
        generators = seed_generators(seeds, Stream.INITIALISATION, device=torch.device("cpu"))
        params: Params = {}
        for layer in self.layers:
            for name, shape, bound in (
                ("weight", layer.weight_shape, self.weight_bounds[layer.name]),
                ("bias", (layer.outputs,), self.bias_bounds[layer.name]),
            ):
                drawn = [torch.rand(shape, generator=g) * (2 * bound) - bound for g in generators]
                params[f"{layer.name}.{name}"] = channels_last(torch.stack(drawn)).to(device, dtype)
        for name, shape in self.norms.items():
            params[f"{name}.weight"] = torch.ones(len(seeds), *shape, device=device, dtype=dtype)
            params[f"{name}.bias"] = torch.zeros(len(seeds), *shape, device=device, dtype=dtype)
        return params

    def by_unit(self, index: int, outputs_SBF: Tensor) -> Tensor:
        """Return |activations| of hidden layer `index` by units: the sum over each unit's outputs, (S, B, F, ...)."""
        copies = self.layers[index + 1].copies
        magnitude = outputs_SBF.abs()
        return magnitude if copies == 1 else magnitude.unflatten(2, (copies, -1)).sum(2)

    def norm_of(self, index: int) -> str | None:
        """Return the name of the layer normalisation of hidden layer `index`, or None."""
        return list(self.norms)[index] if self.norms else None

    def names_of(self, index: int) -> list[str]:
        """Return the names of all weights of layer `index`: weight and bias, and those of its normalisation."""
        norm = self.norm_of(index) if index < len(self.hidden_layers) else None
        return [f"{one}.{kind}" for one in (self.layers[index].name, norm) if one for kind in ("weight", "bias")]


def linear(params: Params, layer: Layer, x_SBI: Tensor) -> Tensor:
    """Return the outputs of a linear layer, (S, B, O)."""
    return torch.baddbmm(params[f"{layer.name}.bias"].unsqueeze(1), x_SBI, params[f"{layer.name}.weight"].mT)


def normalised(params: Params, name: str, x_SBF: Tensor) -> Tensor:
    """Apply layer normalisation over all of an example's units (and positions), with each seed's scale and shift."""
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    return F.layer_norm(x_SBF, weight.shape[1:], eps=NORM_EPSILON) * weight.unsqueeze(1) + bias.unsqueeze(1)


def channels_last(weight: Tensor) -> Tensor:
    """Lay a (S, O, I, K, K) weight out in memory as S, O, K, K, I; leave others as they are."""
    if weight.dim() != 5:
        return weight.contiguous()
    return weight.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


class FeedForward(Network):
    """Layers one after another, all linear from number `first_linear` on."""

    activation: Activation
    first_linear = 0

    @property
    def slopes(self) -> dict[str, float]:
        """Return the initial value of each hidden layer's slope by name, if the activation learns it."""
        start = self.activation.slope
        return {} if start is None else {f"prelu{i}.weight": start for i in range(1, len(self.layers))}

    def init(self, seeds: Sequence[int], device: torch.device, dtype: torch.dtype = torch.float32) -> Params:
        """Return the seeds' initial weights, and slopes (S, 1)."""
        slopes = {
            name: torch.full((len(seeds), 1), start, device=device, dtype=dtype) for name, start in self.slopes.items()
        }
        return super().init(seeds, device, dtype) | slopes

    def names_of(self, index: int) -> list[str]:
        return super().names_of(index) + list(self.slopes)[index : index + 1]

    def activation_of(self, params: Params, index: int) -> Activation:
        """Return the activation of hidden layer `index`."""
        return self.activation.with_slope(params[list(self.slopes)[index]]) if self.slopes else self.activation

    def linear_layers(self, params: Params, start: int, x_SBI: Tensor) -> Activations:
        """Compute outputs and hidden activations of the layers from number `start` on, given their inputs."""
        hidden = []
        for index in range(start, len(self.hidden_layers)):
            x_SBI = linear(params, self.layers[index], x_SBI)
            norm = self.norm_of(index)
            x_SBI = self.activation_of(params, index)(normalised(params, norm, x_SBI) if norm else x_SBI)
            hidden.append(Hidden(x_SBI))
        return Activations(linear(params, self.layers[-1], x_SBI), hidden)
