"""Losses and scores over a leading seed axis: the mean over the batch for each seed.

Dimensions: S seeds, B batch, O outputs.
"""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(outputs_SBO: Tensor, labels_SB: Tensor) -> Tensor:
    """Return the mean softmax cross-entropy per seed, shape (S,)."""
    losses = F.cross_entropy(outputs_SBO.flatten(0, 1), labels_SB.flatten(), reduction="none")
    return losses.unflatten(0, labels_SB.shape).mean(1)


def accuracy(outputs_SBO: Tensor, labels_SB: Tensor) -> Tensor:
    """Return the share of right answers per seed, shape (S,); ties go to the lower class, as in argmax."""
    return (outputs_SBO.argmax(2) == labels_SB).float().mean(1)


def squared_error(outputs_SBO: Tensor, targets_SBO: Tensor) -> Tensor:
    """Return the mean squared error per seed, shape (S,), summed over outputs."""
    return (outputs_SBO - targets_SBO).square().sum(2).mean(1)
