"""Size of the weights."""

import torch
from torch import Tensor

from lop_engine.networks import Params


def weight_magnitude(params: Params) -> Tensor:
    """Mean absolute value over all weights and biases, shape (S,).

    sum |w| / number of parameters. Source: Dohare et al. (Nature 2024).
    """
    totals = [weight.detach().abs().flatten(1).sum(1) for weight in params.values()]
    return torch.stack(totals).sum(0) / sum(weight[0].numel() for weight in params.values())
