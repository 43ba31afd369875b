"""Shares of hidden units that are dormant or dead.

Activations are those of each hidden layer on one batch, after pooling and ReLU: (S, B, F) or (S, B, F, H, W).
"""

import torch
from torch import Tensor

DORMANCY_THRESHOLD = 0.01
TAU = 0.025


def dormant_proportion(hidden: list[Tensor], threshold: float = DORMANCY_THRESHOLD) -> Tensor:
    """Share of hidden units whose mean absolute activation is below a threshold, shape (S,), 0 .. 1.

    |{units : mean |h| < 0.01}| / |units|, with means over the batch (and positions) and the units of all hidden layers.
    Source: the reference's recording variant, after Sokar et al. (2023), who compare with the layer's mean instead.
    """
    return (torch.cat([_mean_activation(h) for h in hidden], dim=1) < threshold).float().mean(1)


def tau_dormant_proportion(hidden: list[Tensor], tau: float = TAU) -> Tensor:
    """Share of hidden units that are tau-dormant, shape (S,), 0 .. 1.

    A unit is tau-dormant if mean |h| <= tau x (mean over its layer of mean |h|), tau = 0.025.
    Source: Sokar et al., "The dormant neuron phenomenon in deep reinforcement learning" (ICML 2023).
    """
    means = [_mean_activation(h) for h in hidden]
    return torch.cat([m <= tau * m.mean(1, keepdim=True) for m in means], dim=1).float().mean(1)


def dead_proportion(hidden: list[Tensor]) -> Tensor:
    """Share of hidden units that are zero on every image of the batch, at every position, shape (S,), 0 .. 1.

    |{units : max |h| = 0}| / |units|, with the units of all hidden layers.
    Source: the usual definition of a dead ReLU, for example in Lyle et al. (ICML 2023).
    """
    return torch.cat([_mean_activation(h) == 0 for h in hidden], dim=1).float().mean(1)


def layer_dormant_proportion(hidden: list[Tensor], layer: int) -> Tensor:
    """dormant_proportion of a single hidden layer, shape (S,), 0 .. 1.

    Layers 1 to 3 are the convolutions after pooling, 4 and 5 the linear layers. Source: that of dormant_proportion.
    """
    return dormant_proportion([hidden[layer - 1]])


def layer_dead_proportion(hidden: list[Tensor], layer: int) -> Tensor:
    """dead_proportion of a single hidden layer, shape (S,), 0 .. 1.

    Layers count from 1. Source: that of dead_proportion.
    """
    return dead_proportion([hidden[layer - 1]])


def _mean_activation(activation: Tensor) -> Tensor:
    """Return the mean |h| over the batch, and over positions for a convolution, (S, F)."""
    return activation.abs().mean((1, *range(3, activation.dim())))
