"""Descriptions of methods that change the loss, the update or the weights after it."""

from pydantic import Field

from lop_engine.experiment.components import Method
from lop_engine.experiment.fields import Decay, Fields, Flag, PerRun


class L2InitKeys(Fields):
    l2_init: PerRun = Field(1e-3, ge=0, description="Strength of the pull towards the initial weights.")


L2_INIT = Method(
    name="l2_init",
    title="L2 Init",
    sentence="Penalise the distance of the weights from their initial values.",
    source="kumar2025maintaining",
    fields=L2InitKeys,
    equation="loss + l2_init / 2 sum (w - w0)^2",
    colour="#8B5A2B",
    code="lop_engine.methods.l2_init:L2Init",
    mixes_settings=True,
)


class UPGDKeys(Fields):
    upgd_utility_decay: Decay = Field(0.999, description="Decay of the running mean of a weight's utility.")
    upgd_sigma: PerRun = Field(1e-3, ge=0, description="Standard deviation of the noise in the update.")
    upgd_protecting: Flag = Field(True, description="Let the utility gate gradient and noise; else, the noise alone.")


UPGD = Method(
    name="upgd",
    title="UPGD",
    sentence="Perturbed gradient descent that changes a weight the less, the more useful it is.",
    source="elsayed2024addressing",
    fields=UPGDKeys,
    equation="""\
u <- upgd_utility_decay u - (1 - upgd_utility_decay) g w;  s = sigmoid(corrected u / largest u);  n ~ N(0, upgd_sigma^2)
w <- (1 - step_size weight_decay) w - step_size (1 - s) (g + n)
upgd_protecting false: w <- (1 - step_size weight_decay) w - step_size (g + (1 - s) n)""",
    colour="#BB22FF",
    code="lop_engine.methods.upgd:UPGD",
    mixes_settings=True,
    has_own_update=True,
)

METHODS_OF_WEIGHTS = (L2_INIT, UPGD)
