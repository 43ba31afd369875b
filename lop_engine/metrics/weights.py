"""Size of the weights."""

from torch import Tensor

from lop_engine.nets import Params


def weight_magnitude(params: Params) -> Tensor:
    """Mean absolute value over all weights and biases, shape (S,).

    sum |w| / number of parameters (Dohare et al., Nature 2024).
    """
    total_S = sum(weight.detach().abs().flatten(1).sum(1) for weight in params.values())
    return total_S / sum(weight[0].numel() for weight in params.values())  # type: ignore[operator, return-value]
