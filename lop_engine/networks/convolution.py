"""The convolutional layers of all seeds, and a table of how each device computes them.

All ways give the same values except for rounding: they add in a different order.

Dimensions: S seeds, B batch, C channels, H W image sides, K kernel side, I inputs, O outputs, F units of a layer.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lop_engine.networks import fused_convolution
from lop_engine.networks.activations import ACTIVATIONS, Activation
from lop_engine.networks.layers import NORM_EPSILON, Hidden


class ImageConvolution(torch.autograd.Function):
    """conv2d with a group per seed, without padding; differentiable only in the image.

    For the first convolution: the curvature needs its gradient in the image 11 times per batch. An input gradient has
    as many channels as the input: 3 for an image, where vector units take 16 at a time, so that oneDNN spends five
    times the arithmetic. Here the kernel's rows become output channels: a convolution along image rows yields, for each
    of the K kernel rows, what it adds to the image (K * C = 15 channels), and the K are then added where they belong.
    The sums are the same, in another order; 100 images take 6 ms on one CPU core instead of 20.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, num_seeds: int) -> Tensor:
        """Images (B, S*C, H, W), weight (S*O, C, K, K), bias (S*O,) or none."""
        ctx.save_for_backward(weight)
        ctx.num_seeds = num_seeds
        return F.conv2d(images, weight, bias, groups=num_seeds)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return image_gradient(grads[0], weight, ctx.num_seeds), None, None, None


def image_gradient(grad: Tensor, weight: Tensor, num_seeds: int) -> Tensor:
    """The gradient in the images (B, S*C, H, W), given that in the maps (B, S*O, H-K+1, W-K+1)."""
    channels, side = weight.shape[1], weight.shape[2]
    # (S*K*C, O, 1, K): kernel rows and image channels are outputs; along a row the kernel is mirrored.
    rows = weight.unflatten(0, (num_seeds, -1)).flip(4).permute(0, 3, 2, 1, 4).flatten(0, 2).unsqueeze(2)
    added = F.conv2d(
        grad.contiguous(memory_format=torch.channels_last),
        rows.contiguous(memory_format=torch.channels_last),
        padding=(0, side - 1),
        groups=num_seeds,
    )
    added_BHWSKC = added.permute(0, 2, 3, 1).unflatten(3, (num_seeds, side, channels))
    batch, map_height, width = added_BHWSKC.shape[:3]
    total_BHWSC = grad.new_zeros(batch, map_height + side - 1, width, num_seeds, channels)
    for row in range(side):
        total_BHWSC[:, row : row + map_height] += added_BHWSKC[..., row, :]
    return total_BHWSC.flatten(3).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Way:
    """How a device computes the convolutional layers."""

    bias_after_pooling: bool
    """Add the bias after pooling, to a quarter of the values."""
    image_gradient_by_rows: bool
    """Compute the gradient in the image alone as a convolution along image rows (`ImageConvolution`)."""
    fused: bool = False
    """Compute layers without normalisation, whose activation commutes with pooling, by `fused_convolution`."""


WAYS = {
    # The reference's order: another one changes the last digits of the golden weights.
    "cpu": Way(bias_after_pooling=False, image_gradient_by_rows=True),
    "cuda": Way(bias_after_pooling=True, image_gradient_by_rows=False, fused=True),
    # cuDNN, where Triton does not work. The biases of 30 seeds take 0.3 GB of memory traffic a step instead of 1.3.
    "cudnn": Way(bias_after_pooling=True, image_gradient_by_rows=False),
}


def way_of(device: torch.device) -> Way:
    """The entry for a device. Every device except a CPU uses a GPU's; a warning says why one does without Triton."""
    if device.type in WAYS and device.type != "cuda":
        return WAYS[device.type]
    why = fused_convolution.problem(device)
    if why and torch.cuda.is_available():
        warnings.warn(f"convolutions use cuDNN, which takes 3 to 5 times as long: {why}", stacklevel=2)
    return WAYS["cudnn" if why else "cuda"]


@dataclass(frozen=True)
class Norm:
    """Layer normalisation of a convolution's maps: scale and shift, (S, F, H, W) each."""

    weight: Tensor
    bias: Tensor


def hidden_maps(
    images_SBCHW: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    way: Way | None = None,
    activation: Activation = ACTIVATIONS["relu"],
    norms: Sequence[Norm] = (),
    slopes: Sequence[Tensor] = (),
) -> list[Hidden]:
    """Return the activations of each convolutional layer, with 2x2 max-pooling, (S, B, F, H, W).

    All seeds run as one grouped convolution, channels-last, or by `fused_convolution`. Add another way to convolve
    here, and a field of `Way` that chooses it.

    Args:
        layers: of each layer the weights (S, O, I, K, K) and the biases (S, O).
        way: by default that of the images' device.
        norms: of each layer, if they are normalised before the activation.
        slopes: of each layer, (S, 1), if the activation has slopes that are learned.
    """
    way = way or way_of(images_SBCHW.device)
    is_plain = not norms and activation is ACTIVATIONS["relu"]
    commutes = not norms and activation.is_monotonic and activation.copies == 1
    if way.fused and commutes and images_SBCHW.dtype is torch.float32:
        return _fused_maps(images_SBCHW, layers, activation)
    num_seeds, hidden = images_SBCHW.shape[0], []
    bias_after_pooling = way.bias_after_pooling and is_plain
    # (B, S*C, H, W), channels-last: the seeds are the groups of one convolution.
    x = images_SBCHW.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)
    for index, (weight_SOIKK, bias_SO) in enumerate(layers):
        weight, bias = weight_SOIKK.flatten(0, 1), bias_SO.flatten()
        only_image_gradient = index == 0 and images_SBCHW.requires_grad and not weight.requires_grad
        early_bias = None if bias_after_pooling else bias
        if only_image_gradient and way.image_gradient_by_rows:
            x = ImageConvolution.apply(x, weight, early_bias, num_seeds)  # type: ignore[no-untyped-call]
        else:
            x = F.conv2d(x, weight, early_bias, groups=num_seeds)
        if norms:
            x = _normalised(x, norms[index], num_seeds)
        late_bias = bias.to(x.dtype).view(1, -1, 1, 1) if bias_after_pooling else None
        of_layer = activation.with_slope(slopes[index]) if slopes else activation
        before = _before_pooling(x, late_bias, num_seeds, of_layer)
        x = _pooled(x, late_bias, num_seeds, of_layer)
        hidden.append(Hidden(_by_seed(x, num_seeds), before))
    return hidden


def _fused_maps(images_SBCHW: Tensor, layers: Sequence[tuple[Tensor, Tensor]], activation: Activation) -> list[Hidden]:
    x_SBHWC, hidden = images_SBCHW.permute(0, 1, 3, 4, 2), []
    relu = activation is ACTIVATIONS["relu"]
    for weight_SOIKK, bias_SO in layers:
        before = partial(_map_before_pooling, x_SBHWC, weight_SOIKK, bias_SO, activation)
        x_SBHWC = fused_convolution.pooled_convolution(x_SBHWC, weight_SOIKK.permute(0, 1, 3, 4, 2), bias_SO, relu)
        if not relu:
            x_SBHWC = activation.function(x_SBHWC)
        hidden.append(Hidden(x_SBHWC.permute(0, 1, 4, 2, 3), before, depends_on_weights=True))
    return hidden


def _map_before_pooling(x_SBHWC: Tensor, weight_SOIKK: Tensor, bias_SO: Tensor, activation: Activation) -> Tensor:
    """Return a fused layer's activations before pooling, (S, B, F, H, W)."""
    num_seeds = x_SBHWC.shape[0]
    with torch.no_grad():
        x = x_SBHWC.permute(1, 0, 4, 2, 3).flatten(1, 2)
        maps = F.conv2d(x, weight_SOIKK.flatten(0, 1).to(x.dtype), bias_SO.flatten().to(x.dtype), groups=num_seeds)
        return activation(_by_seed(maps, num_seeds))


def _pooled(x: Tensor, late_bias: Tensor | None, num_seeds: int, activation: Activation) -> Tensor:
    """Return activations of the maps (B, S*F, H, W) after pooling."""
    if activation.copies > 1:
        x = activation.arguments(x.unflatten(1, (num_seeds, -1)), 2).flatten(1, 2)
    if activation.slope is not None:
        return F.max_pool2d(activation.function(_by_seed(x, num_seeds)).transpose(0, 1).flatten(1, 2), 2)
    if not activation.is_monotonic:
        return F.max_pool2d(activation.function(x), 2)
    x = F.max_pool2d(x, 2)
    if late_bias is not None:
        x = x + late_bias
    return activation.function(x)  # commutes with max-pooling; after pooling, it has a quarter of the values


def _before_pooling(
    x: Tensor, late_bias: Tensor | None, num_seeds: int, activation: Activation
) -> Callable[[], Tensor]:
    def compute() -> Tensor:
        return activation(_by_seed(x if late_bias is None else x + late_bias, num_seeds))

    return compute


def _by_seed(x: Tensor, num_seeds: int) -> Tensor:
    """Reshape (B, S*F, H, W) to (S, B, F, H, W)."""
    return x.unflatten(1, (num_seeds, -1)).transpose(0, 1)


def _normalised(x: Tensor, norm: Norm, num_seeds: int) -> Tensor:
    x_BSFHW = x.unflatten(1, (num_seeds, -1))
    return (F.layer_norm(x_BSFHW, norm.weight.shape[1:], eps=NORM_EPSILON) * norm.weight + norm.bias).flatten(1, 2)
