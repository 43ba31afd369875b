"""Curvature of the loss in the input, by finite differences of its gradient."""

from collections.abc import Iterable

import torch
from torch import Tensor

from lop_engine.metrics.inputs import Forward, Loss, MetricInputs
from lop_engine.networks import Params

NUM_DIRECTIONS = 10
STEP = 1e-3
BATCH = 100

GPU_IMAGES = 3000
"""Images, of all seeds, that a GPU computes at once. A CPU computes one direction at a time: more exceed its cache."""


def curvature(
    forward: Forward,
    params: Params,
    loss: Loss,
    inputs_SN: Tensor,
    targets_SN: Tensor,
    directions: Iterable[Tensor],
    step: float = STEP,
) -> Tensor:
    """Change of the loss's gradient in the input after a small step of the input in a random direction, shape (S,).

    Mean over examples and 10 directions v in {-1, +1}^n (an image has n = 3072) of || g(x + h v) - g(x) ||_2, with
    h = 1e-3 and g the gradient of the *batch-mean* loss in the input, in batches of 100; not divided by h. Source: the
    reference's recording variant.

    Args:
        inputs_SN: the inputs (S, N, ...), in the order in which they are batched.
        targets_SN: their targets.
        directions: for each batch in turn, its directions (D, S, B, ...); the gradient at x serves all D.
    """
    weights = {name: weight.detach() for name, weight in params.items()}
    total_S = torch.zeros(inputs_SN.shape[0], device=inputs_SN.device)
    num_terms = 0
    for start, directions_DSB in zip(range(0, inputs_SN.shape[1], BATCH), directions, strict=False):
        x_SB = inputs_SN[:, start : start + BATCH]
        targets_SB = targets_SN[:, start : start + BATCH]
        base_SB = _input_gradient(forward, weights, loss, x_SB, targets_SB)
        for v_DSB in directions_DSB.split(directions_at_once(x_SB)):
            moved_DSB = torch.add(x_SB, v_DSB, alpha=step)
            change_DSB = _input_gradients(forward, weights, loss, moved_DSB, targets_SB) - base_SB
            total_S += torch.linalg.vector_norm(change_DSB, dim=tuple(range(3, change_DSB.dim()))).sum((0, 2))
            num_terms += v_DSB.shape[0] * x_SB.shape[1]
    return total_S / num_terms


def on_inputs(inputs: MetricInputs) -> Tensor:
    """`curvature` on as many examples as the spec says, in random directions, shape (S,)."""
    count = inputs.num_curvature_images or inputs.inputs.shape[1]
    examples, targets = inputs.inputs[:, :count], inputs.targets[:, :count]
    directions = random_directions(examples, inputs.generators)
    return curvature(inputs.forward, inputs.params, inputs.loss, examples, targets, directions)


def random_directions(inputs_SN: Tensor, generators: list[torch.Generator]) -> Iterable[Tensor]:
    """Directions for each batch of `inputs_SN`: entries -1 and +1, each seed from its own generator."""
    num_seeds, num_examples, *shape = inputs_SN.shape
    of_images = len(shape) == 3
    for start in range(0, num_examples, BATCH):
        size = min(BATCH, num_examples - start)
        # Laid out as images are (channels last), so that the sum keeps their layout.
        laid_out = (*shape[1:], shape[0]) if of_images else shape
        signs = torch.empty(num_seeds, NUM_DIRECTIONS, size, *laid_out, device=inputs_SN.device, dtype=inputs_SN.dtype)
        for sign, generator in zip(signs, generators, strict=True):
            sign.random_(0, 2, generator=generator)
        signs = signs.mul_(2).sub_(1).transpose(0, 1)
        yield signs.movedim(5, 3) if of_images else signs


def directions_at_once(x_SB: Tensor) -> int:
    if x_SB.device.type == "cpu":
        return 1
    return max(1, GPU_IMAGES // (x_SB.shape[0] * x_SB.shape[1]))


def _input_gradients(forward: Forward, params: Params, loss: Loss, inputs_DSB: Tensor, targets_SB: Tensor) -> Tensor:
    """Return the gradient of each batch's mean loss, for each direction, (D, S, B, C, H, W)."""
    num_directions, _, batch = inputs_DSB.shape[:3]
    inputs = inputs_DSB.transpose(0, 1).flatten(1, 2)
    gradient = _input_gradient(forward, params, loss, inputs, _repeated(targets_SB, num_directions)) * num_directions
    return gradient.unflatten(1, (num_directions, batch)).transpose(0, 1)


def _input_gradient(forward: Forward, params: Params, loss: Loss, inputs_SB: Tensor, targets_SB: Tensor) -> Tensor:
    inputs = inputs_SB.detach().requires_grad_(True)
    loss_S = loss(forward(params, inputs).outputs_SBO, targets_SB)
    return torch.autograd.grad(loss_S.sum(), inputs)[0]


def _repeated(targets_SB: Tensor, times: int) -> Tensor:
    return targets_SB.repeat(1, times, *[1] * (targets_SB.dim() - 2))
