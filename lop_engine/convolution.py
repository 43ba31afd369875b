"""The convolutional layers of all seeds, and a table of how each device computes them.

All ways give the same values except for rounding: they add in a different order.

Dimensions: S seeds, B batch, C channels, H W image sides, K kernel side, I inputs, O outputs, F units of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lop_engine.image_convolution import ImageConvolution


@dataclass(frozen=True)
class Way:
    """How a device computes the convolutional layers."""

    bias_after_pooling: bool
    """Add the bias after pooling, to a quarter of the values."""
    image_gradient_by_rows: bool
    """Compute the gradient in the image alone as a convolution along image rows (`ImageConvolution`)."""


WAYS = {
    # The reference's order: another one changes the last digits of the golden weights.
    "cpu": Way(bias_after_pooling=False, image_gradient_by_rows=True),
    # By calculation the biases of 30 seeds take 0.3 GB of memory traffic per step instead of 1.3; not yet measured.
    "cuda": Way(bias_after_pooling=True, image_gradient_by_rows=False),
}


def way_of(device: torch.device) -> Way:
    """The entry for a device. Every device except a CPU uses the GPU's."""
    return WAYS.get(device.type, WAYS["cuda"])


def hidden_maps(images_SBCHW: Tensor, layers: Sequence[tuple[Tensor, Tensor]], way: Way | None = None) -> list[Tensor]:
    """Activations of each convolutional layer after 2x2 max-pooling and ReLU, (S, B, F, H, W).

    All seeds run as one grouped convolution, channels-last. Add another way to convolve here, and a field of `Way`
    that chooses it.

    Args:
        layers: of each layer the weights (S, O, I, K, K) and the biases (S, O).
        way: by default that of the images' device.
    """
    way = way or way_of(images_SBCHW.device)
    num_seeds, hidden = images_SBCHW.shape[0], []
    # (B, S*C, H, W), channels-last: the seeds are the groups of one convolution.
    x = images_SBCHW.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)
    for index, (weight_SOIKK, bias_SO) in enumerate(layers):
        weight, bias = weight_SOIKK.flatten(0, 1), bias_SO.flatten()
        only_image_gradient = index == 0 and images_SBCHW.requires_grad and not weight.requires_grad
        early_bias = None if way.bias_after_pooling else bias
        if only_image_gradient and way.image_gradient_by_rows:
            x = ImageConvolution.apply(x, weight, early_bias, num_seeds)  # type: ignore[no-untyped-call]
        else:
            x = F.conv2d(x, weight, early_bias, groups=num_seeds)
        x = F.max_pool2d(x, 2)
        if way.bias_after_pooling:
            x = x + bias.to(x.dtype).view(1, -1, 1, 1)
        x = F.relu(x)  # ReLU and max-pooling commute; after pooling, ReLU has a quarter of the values
        hidden.append(x.unflatten(1, (num_seeds, -1)).transpose(0, 1))
    return hidden
