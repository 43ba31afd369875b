"""my_metric, a metric of your own: the share of weights that are larger than a tenth.

It is an example to change. A metric is a function of what `takes` names: attributes of MetricInputs
(lop_engine/metrics/inputs.py), such as the weights. A worker trains several seeds at once: the first axis S of every
tensor is the seed, and the metric returns one number for each.
"""

import torch
from torch import Tensor

from lop_engine.experiment import components as describe
from lop_engine.networks import Params


def my_metric(params: Params) -> Tensor:
    """Return the share of weights and biases with |w| > 0.1, shape (S,): no mean over the first axis, the seeds."""
    is_large = torch.cat([weight.flatten(1).abs() > 0.1 for weight in params.values()], dim=1)
    return is_large.float().mean(1)


METRIC = describe.Metric(
    name="my_metric",
    title="large weights",
    sentence="Weights larger than a tenth.",
    takes=("params",),
    unit="%",  # shows a proportion 0 .. 1 as 0 .. 100; "" for plain numbers
    scale="percent",  # or "linear", "log"
    code=my_metric,
)
