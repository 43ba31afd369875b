"""Losses and accuracies, during training and on test images."""

import torch
from torch import Tensor

from lop_engine.metrics.inputs import Forward
from lop_engine.networks import Params
from lop_engine.problems.losses import accuracy

TEST_BATCH = 100


def train_accuracy(batch_accuracies: list[Tensor]) -> Tensor:
    """Mean over an epoch's steps of the accuracy on the step's batch before its update, shape (S,), 0 .. 1.

    (1 / steps) sum_t accuracy(theta_t, batch_t). Source: the reference's recording variant.
    """
    return torch.stack(batch_accuracies).mean(0)


@torch.no_grad()
def test_accuracy(forward: Forward, params: Params, inputs_SN: Tensor, labels_SN: Tensor) -> Tensor:
    """Mean accuracy over test batches of 100, shape (S,), 0 .. 1.

    (1 / batches) sum_b accuracy(theta, batch_b); a shorter last batch has the same weight. Source: Dohare et al.
    (Nature 2024), whose figures show this after each task's last epoch.
    """
    batches = zip(inputs_SN.split(TEST_BATCH, dim=1), labels_SN.split(TEST_BATCH, dim=1), strict=True)
    return torch.stack([accuracy(forward(params, inputs).outputs_SBO, labels) for inputs, labels in batches]).mean(0)


def train_loss(batch_losses: list[Tensor]) -> Tensor:
    """Mean over an epoch's steps of the loss on the step's batch before its update, shape (S,).

    (1 / steps) sum_t L(theta_t, batch_t), without penalties. Source: the usual online loss; Dohare et al. (Nature
    2024) show it for Slowly-Changing Regression.
    """
    return torch.stack(batch_losses).mean(0)


def squared_error(batch_losses: list[Tensor]) -> Tensor:
    """Mean over a task's steps of the squared error on the step's example before its update, shape (S,).

    (1 / steps) sum_t (y(theta_t, x_t) - target_t)^2. This is train_loss for a problem whose loss is the squared error.
    Source: Dohare et al. (Nature 2024), whose figures show it in bins of 20,000 examples.
    """
    return train_loss(batch_losses)
