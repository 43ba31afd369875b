"""Descriptions of methods that change the loss, the update or the weights after it."""

from typing import Literal

from pydantic import Field

from lop_engine.experiment.components import Method
from lop_engine.experiment.fields import Decay, Fields, Flag, PerRun


class L2InitKeys(Fields):
    l2_init: PerRun = Field(1e-3, ge=0, description="Strength of the pull towards the initial weights.")
    l2_init_penalty: Literal["l2", "l1", "huber"] = Field(
        "l2",
        description="Of a weight's distance d: l2 is d^2 / 2, l1 its size, huber d^2 / 2 up to 1, then its size - 1/2.",
    )
    l2_init_target: Literal["initial", "resampled"] = Field(
        "initial", description="Measure the distance from the initial weights, or from ones that each step draws anew."
    )


L2_INIT = Method(
    name="l2_init",
    title="L2 Init",
    sentence="Penalise the distance of the weights from their initial values.",
    source="kumar2025maintaining",
    fields=L2InitKeys,
    equation="""\
loss + l2_init / 2 sum (w - w0)^2
l2_init_penalty l1: loss + l2_init sum |w - w0|
l2_init_penalty huber: loss + l2_init sum huber(w - w0),    huber(d) = d^2 / 2 if |d| < 1, else |d| - 1/2""",
    colour="#8B5A2B",
    code="lop_engine.methods.l2_init:L2Init",
    mixes_settings=True,
)


class UtilityKeys(Fields):
    """What UPGD and AdaUPGD take."""

    upgd_utility_decay: Decay = Field(0.999, description="Decay of the running mean of a weight's utility.")
    upgd_sigma: PerRun = Field(1e-3, ge=0, description="Standard deviation of the noise in the update.")


class UPGDKeys(UtilityKeys):
    upgd_utility: Literal["global", "local"] = Field(
        "global",
        description="Scale utilities by the run's largest one, or by their norm along the last axis of each weight.",
    )
    upgd_protecting: Flag = Field(True, description="Let the utility gate gradient and noise; else, the noise alone.")
    upgd_clip_kappa: PerRun = Field(
        0.0, ge=0, description="Then clip all weights, as weight_clipping does with this clip_kappa; 0 for no clipping."
    )


UPGD = Method(
    name="upgd",
    title="UPGD",
    sentence="Perturbed gradient descent that changes a weight the less, the more useful it is.",
    source="elsayed2024addressing",
    fields=UPGDKeys,
    equation="""\
u <- upgd_utility_decay u - (1 - upgd_utility_decay) g w;  s = sigmoid(corrected u / largest u);  n ~ N(0, upgd_sigma^2)
w <- (1 - step_size weight_decay) w - step_size (1 - s) (g + n)
upgd_protecting false: w <- (1 - step_size weight_decay) w - step_size (g + (1 - s) n)
upgd_utility local: s = sigmoid(corrected u / norm of corrected u along the last axis)""",
    colour="#BB22FF",
    code="lop_engine.methods.upgd:UPGD",
    mixes_settings=True,
    has_own_update=True,
)


class AdaUPGDKeys(UtilityKeys):
    beta_1: Decay = Field(0.9, description="Decay of the first moment.")
    beta_2: Decay = Field(0.999, description="Decay of the second moment.")
    epsilon: PerRun = Field(1e-5, gt=0, description="Added to the root of the second moment.")


ADAUPGD = Method(
    name="adaupgd",
    title="AdaUPGD",
    sentence="UPGD with Adam's normalised gradient.",
    source="elsayed2024addressing",
    fields=AdaUPGDKeys,
    equation="""\
s, n as of upgd;  m <- beta_1 m + (1 - beta_1) g;  v <- beta_2 v + (1 - beta_2) g^2
w <- (1 - step_size weight_decay) w - 2 step_size (1 - s) (corrected m / (sqrt(corrected v) + epsilon) + n)""",
    colour="#6A0DAD",
    code="lop_engine.methods.adaupgd:AdaUPGD",
    mixes_settings=True,
    has_own_update=True,
)


class WeightClippingKeys(Fields):
    clip_kappa: PerRun = Field(2.0, gt=0, description="Bound of a weight, in units of 1 / sqrt(fan_in) of its layer.")
    clip_last_layer: Flag = Field(True, description="Clip the output layer, too.")


WEIGHT_CLIPPING = Method(
    name="weight_clipping",
    title="weight clipping",
    sentence="Clip every weight to a multiple of its initial bound after each update.",
    source="elsayed2024weight",
    fields=WeightClippingKeys,
    equation="after every update: w <- clip(w, -b, b),    b = clip_kappa / sqrt(fan_in of its layer)",
    colour="#B8860B",
    code="lop_engine.methods.weight_clipping:WeightClipping",
    mixes_settings=True,
)

METHODS_OF_WEIGHTS = (L2_INIT, UPGD, ADAUPGD, WEIGHT_CLIPPING)
