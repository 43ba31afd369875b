"""Sizes of the weights and of the gradient."""

import torch
from torch import Tensor

from lop_engine.metrics.inputs import Forward, Loss
from lop_engine.networks import Params


def weight_magnitude(params: Params) -> Tensor:
    """Mean absolute value over all weights and biases, shape (S,).

    sum |w| / number of parameters. Source: Dohare et al. (Nature 2024).
    """
    totals = [weight.detach().abs().flatten(1).sum(1) for weight in params.values()]
    return torch.stack(totals).sum(0) / sum(weight[0].numel() for weight in params.values())


def gradient_norm(forward: Forward, params: Params, loss: Loss, inputs_SB: Tensor, targets_SB: Tensor) -> Tensor:
    """Norm of the gradient of the loss with respect to the weights, on one batch, shape (S,).

    || d L / d theta ||_2 over all weights and biases, L the batch-mean loss. Source: common in the field,
    for example Abbas et al. (CoLLAs 2023), who relate vanishing gradients to loss of plasticity.
    """
    leaves = {name: weight.detach().requires_grad_(True) for name, weight in params.items()}
    loss_S = loss(forward(leaves, inputs_SB).outputs_SBO, targets_SB)
    grads = torch.autograd.grad(loss_S.sum(), list(leaves.values()))
    return torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
