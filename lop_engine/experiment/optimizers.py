"""Descriptions of the optimisers. All have the keys `step_size` and `weight_decay`."""

from typing import Literal

from pydantic import Field

from lop_engine.experiment.components import Optimizer
from lop_engine.experiment.fields import Decay, Fields, PerRun


class Momentum(Fields):
    momentum: Decay = Field(0.0, description="Momentum of SGD, as in torch.optim.SGD.")


class Moments(Fields):
    beta_1: Decay = Field(0.9, description="Decay of Adam's first moment.")
    beta_2: Decay = Field(0.999, description="Decay of Adam's second moment.")
    epsilon: PerRun = Field(1e-8, gt=0, description="Added to the root of Adam's second moment.")


class RMSpropKeys(Fields):
    beta_2: Decay = Field(0.99, description="Decay of the running mean of squared gradients.")
    momentum: Decay = Field(0.0, description="Momentum of RMSprop, as in torch.optim.RMSprop.")
    epsilon: PerRun = Field(1e-8, gt=0, description="Added to the root of that mean.")


class MuonKeys(Moments):
    muon_momentum: Decay = Field(0.95, description="Decay of Muon's running mean of gradients.")
    muon_variant: Literal["authors", "torch"] = Field(
        "authors", description="Variant of Muon: the authors', or torch.optim.Muon, which leaves convolutions to AdamW."
    )
    muon_precision: Literal["step", "bf16"] = Field(
        "step",
        description="Precision of the orthogonalisation: that of the weights, or bfloat16 as in the authors' code.",
    )
    adamw_step_size: PerRun = Field(3e-4, gt=0, description="Step size of AdamW, which trains all other weights.")
    beta_1: Decay = Field(0.9, description="Decay of AdamW's first moment.")
    beta_2: Decay = Field(0.95, description="Decay of AdamW's second moment.")
    epsilon: PerRun = Field(1e-10, gt=0, description="Added to the root of AdamW's second moment.")


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
    sentence="Adam with decoupled weight decay: it is not added to the gradient.",
    source="loshchilov2019decoupled",
    fields=Moments,
    code="lop_engine.methods.optimizers:AdamW",
)
ADAM_GNT = Optimizer(
    name="adam_gnt",
    title="Adam of the reference's CBP",
    sentence="Adam with the factor 1 - beta_2^t in place of its bias corrections, as in the code of Dohare et al.",
    source="dohare2024loss",
    fields=Moments,
    code="lop_engine.methods.optimizers:AdamGnT",
)

RMSPROP = Optimizer(
    name="rmsprop",
    title="RMSprop",
    sentence="Gradients divided by the root of their mean square; weight decay is added to the gradient.",
    source="tieleman2012rmsprop",
    fields=RMSpropKeys,
    code="lop_engine.methods.optimizers:RMSprop",
)
MUON = Optimizer(
    name="muon",
    title="Muon",
    sentence="Orthogonalised momentum for the weights of hidden layers, AdamW for the rest; decoupled weight decay.",
    source="jordan2024muon",
    fields=MuonKeys,
    code="lop_engine.methods.muon:Muon",
)

OPTIMIZERS = (SGD, RMSPROP, ADAM, ADAMW, ADAM_GNT, MUON)
