"""Curvature of the loss in the input, by finite differences of its gradient."""

from collections.abc import Iterable

import torch
from torch import Tensor

from lop_engine.learners.learner import cross_entropy
from lop_engine.nets import Net, Params

NUM_DIRECTIONS = 10
STEP = 1e-3
BATCH = 100

GPU_IMAGES = 3000
"""So many images of all seeds go through a GPU at once. A CPU takes one direction at a time: more leave its cache."""


def curvature(
    net: Net,
    params: Params,
    images_SNCHW: Tensor,
    labels_SN: Tensor,
    directions: Iterable[Tensor],
    step: float = STEP,
) -> Tensor:
    """How much the loss gradient in the image changes over a small step in a random direction, shape (S,).

    Mean over images and 10 directions v in {-1, +1}^3072 of || g(x + h v) - g(x) ||_2, h = 1e-3, g the gradient of the
    *batch-mean* loss in the image, batches of 100; not divided by h. Source: the reference's recording variant.

    Args:
        images_SNCHW: the images, in the order in which they are batched.
        labels_SN: their classes, int64.
        directions: for each batch in turn, its directions (D, S, B, C, H, W); the gradient at x serves all D.
    """
    weights = {name: weight.detach() for name, weight in params.items()}
    total_S = torch.zeros(images_SNCHW.shape[0], device=images_SNCHW.device)
    num_terms = 0
    for start, directions_DSBCHW in zip(range(0, images_SNCHW.shape[1], BATCH), directions, strict=False):
        x_SBCHW = images_SNCHW[:, start : start + BATCH]
        labels_SB = labels_SN[:, start : start + BATCH]
        base_SBCHW = _image_gradient(net, weights, x_SBCHW, labels_SB)
        for v_DSBCHW in directions_DSBCHW.split(_directions_at_once(x_SBCHW)):
            moved_DSBCHW = torch.add(x_SBCHW, v_DSBCHW, alpha=step)
            change_DSBCHW = _image_gradients(net, weights, moved_DSBCHW, labels_SB) - base_SBCHW
            total_S += torch.linalg.vector_norm(change_DSBCHW, dim=(3, 4, 5)).sum((0, 2))
            num_terms += v_DSBCHW.shape[0] * x_SBCHW.shape[1]
    return total_S / num_terms


def random_directions(images_SNCHW: Tensor, generators: list[torch.Generator]) -> Iterable[Tensor]:
    """Directions for each batch of `images_SNCHW`: entries -1 and +1, each seed from its own generator."""
    num_seeds, num_images = images_SNCHW.shape[:2]
    for start in range(0, num_images, BATCH):
        size = min(BATCH, num_images - start)
        # Laid out as the images are (channels last), so that the sum keeps their layout.
        shape = (NUM_DIRECTIONS, size, *images_SNCHW.shape[3:], images_SNCHW.shape[2])
        signs = torch.empty(num_seeds, *shape, device=images_SNCHW.device)
        for sign, generator in zip(signs, generators, strict=True):
            sign.random_(0, 2, generator=generator)
        yield signs.mul_(2).sub_(1).permute(1, 0, 2, 5, 3, 4)


def _directions_at_once(x_SBCHW: Tensor) -> int:
    if x_SBCHW.device.type == "cpu":
        return 1
    return max(1, GPU_IMAGES // (x_SBCHW.shape[0] * x_SBCHW.shape[1]))


def _image_gradients(net: Net, params: Params, images_DSBCHW: Tensor, labels_SB: Tensor) -> Tensor:
    """For each direction the gradient of its own batch's mean loss, (D, S, B, C, H, W)."""
    num_directions, _, batch = images_DSBCHW.shape[:3]
    images = images_DSBCHW.transpose(0, 1).flatten(1, 2)
    gradient = _image_gradient(net, params, images, labels_SB.repeat(1, num_directions)) * num_directions
    return gradient.unflatten(1, (num_directions, batch)).transpose(0, 1)


def _image_gradient(net: Net, params: Params, images_SBCHW: Tensor, labels_SB: Tensor) -> Tensor:
    images = images_SBCHW.detach().requires_grad_(True)
    loss_S = cross_entropy(net(params, images).logits_SBO, labels_SB)
    return torch.autograd.grad(loss_S.sum(), images)[0]
