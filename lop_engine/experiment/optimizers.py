"""Descriptions of the optimisers. All take `step_size` and `weight_decay`."""

from pydantic import Field

from lop_engine.experiment.components import Optimizer
from lop_engine.experiment.fields import Decay, Fields, PerRun


class Momentum(Fields):
    momentum: Decay = Field(0.0, description="Of SGD, as in torch.optim.SGD.")


class Moments(Fields):
    beta_1: Decay = Field(0.9, description="Decay of Adam's first moment.")
    beta_2: Decay = Field(0.999, description="Decay of Adam's second moment.")
    epsilon: PerRun = Field(1e-8, gt=0, description="Added to the root of Adam's second moment.")


SGD = Optimizer(
    name="sgd",
    title="SGD",
    sentence="Stochastic gradient descent with momentum; weight decay is added to the gradient.",
    fields=Momentum,
    code="lop_engine.methods.optimizers:SGD",
)
ADAM = Optimizer(
    name="adam",
    title="Adam",
    sentence="Adam; weight decay is added to the gradient.",
    source="kingma2015adam",
    fields=Moments,
    code="lop_engine.methods.optimizers:Adam",
)
ADAMW = Optimizer(
    name="adamW",
    title="AdamW",
    sentence="Adam with weight decay apart from the gradient.",
    source="loshchilov2019decoupled",
    fields=Moments,
    code="lop_engine.methods.optimizers:AdamW",
)

OPTIMIZERS = (SGD, ADAM, ADAMW)
