"""Size of the gradient."""

import torch
from torch import Tensor

from lop_engine.learners.learner import cross_entropy
from lop_engine.nets import Net, Params


def gradient_norm(net: Net, params: Params, images_SBCHW: Tensor, labels_SB: Tensor) -> Tensor:
    """Norm of the loss gradient in the weights, on one batch, shape (S,).

    || d L / d theta ||_2 over all weights and biases, L the batch-mean cross-entropy. Source: common in the field,
    for example Abbas et al. (CoLLAs 2023), who tie vanishing gradients to loss of plasticity.
    """
    leaves = {name: weight.detach().requires_grad_(True) for name, weight in params.items()}
    loss_S = cross_entropy(net(leaves, images_SBCHW).logits_SBO, labels_SB)
    grads = torch.autograd.grad(loss_S.sum(), list(leaves.values()))
    return torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
