"""A metric: the share of weights that are larger than a tenth."""

import torch

from lop_engine.experiment import components as describe


def large_weights(params):
    """Share of weights and biases with |w| > 0.1, shape (S,)."""
    large = torch.cat([weight.flatten(1).abs() > 0.1 for weight in params.values()], dim=1)
    return large.float().mean(1)


METRIC = describe.Metric(
    name="large_weights",
    title="large weights",
    sentence="Weights larger than a tenth.",
    takes=("params",),
    unit="%",
    scale="percent",
    code=large_weights,
)
