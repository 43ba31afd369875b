"""The first convolution, for computing only the gradient in the image, which the curvature needs 11 times per batch.

A convolution's input gradient has as many channels as its input: 3 for an image, where vector units take 16 at a
time, so that oneDNN spends five times the arithmetic. Here the kernel's rows become output channels: a convolution
along image rows yields, for each of the K kernel rows, what it adds to the image (K * C = 15 channels), and the K
are then added where they belong. The sums are the same, in another order; 100 images take 6 ms
on one CPU core instead of 20.

Dimensions: S seeds, B batch, C image channels, O outputs a seed, H W image sides, K kernel side.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class ImageConvolution(torch.autograd.Function):
    """conv2d of one group a seed, without padding; differentiable in the image alone."""

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
