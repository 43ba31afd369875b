"""Units that have gone quiet."""

import torch
from torch import Tensor

DORMANCY_THRESHOLD = 0.01
"""The reference's; units are compared with it as they are, not with their layer's mean."""


def dormant_proportion(hidden: list[Tensor], threshold: float = DORMANCY_THRESHOLD) -> Tensor:
    """Share of hidden units whose mean |activation| over the batch (and space) is below `threshold`, shape (S,).

    Args:
        hidden: activations of each hidden layer, (S, B, F) or (S, B, F, H, W); none for a linear network.
    Returns:
        0 .. 1 a seed, over the units of all layers together; NaN where there is no hidden layer.
    """
    if not hidden:
        return torch.tensor(float("nan"))
    mean_SF = torch.cat([h.abs().mean((1, *range(3, h.dim()))) for h in hidden], dim=1)
    return (mean_SF < threshold).float().mean(1)
