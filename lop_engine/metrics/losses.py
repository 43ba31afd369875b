"""Losses while training."""

import torch
from torch import Tensor


def train_loss(batch_losses: list[Tensor]) -> Tensor:
    """Mean over an epoch's steps of the batch loss before that step's update, shape (S,).

    (1 / steps) sum_t L(theta_t, batch_t), without any penalty. Source: the usual online loss; Dohare et al. (Nature
    2024) show it for Slowly-Changing Regression.
    """
    return torch.stack(batch_losses).mean(0)
