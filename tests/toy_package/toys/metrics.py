"""The toy regression's headline."""

import torch
from torch import Tensor


def toy_rmse(batch_losses: list[Tensor]) -> Tensor:
    """Root of the mean over an epoch's steps of the squared error before that step's update, shape (S,)."""
    return torch.stack(batch_losses).mean(0).sqrt()
