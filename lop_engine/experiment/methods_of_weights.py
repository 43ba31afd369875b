"""Descriptions of methods that change the loss, the update or the weights in every step."""

from typing import Annotated, Literal

from pydantic import Field

from lop_engine.experiment.components import Method
from lop_engine.experiment.fields import PER_RUN, Decay, Fields, Flag, Int, PerRun, Proportion


class L2InitKeys(Fields):
    l2_init: PerRun = Field(1e-3, ge=0, description="Strength of the pull towards the initial weights.")
    l2_init_penalty: Literal["l2", "l1", "huber"] = Field(
        "l2",
        description="Penalty on a weight's distance d: l2 is d^2 / 2, l1 |d|, huber d^2 / 2 up to 1, then |d| - 1/2.",
    )
    l2_init_target: Literal["initial", "resampled"] = Field(
        "initial", description="Measure the distance from the initial weights, or from new random ones in each step."
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
    """Keys of UPGD and AdaUPGD."""

    upgd_utility_decay: Decay = Field(0.999, description="Decay of the running mean of a weight's utility.")
    upgd_sigma: PerRun = Field(1e-3, ge=0, description="Standard deviation of the noise in the update.")


class UPGDKeys(UtilityKeys):
    upgd_utility: Literal["global", "local"] = Field(
        "global",
        description="Scale utilities by the run's largest one, or by their norm along the last axis of each weight.",
    )
    upgd_protecting: Flag = Field(
        True, description="Scale gradient and noise by the utility (true), or only the noise (false)."
    )
    upgd_clip_kappa: PerRun = Field(
        0.0, ge=0, description="Also clip all weights, as weight_clipping does with this clip_kappa; 0: no clipping."
    )


UPGD = Method(
    name="upgd",
    title="UPGD",
    sentence="Perturbed gradient descent that changes useful weights less.",
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
    clip_last_layer: Flag = Field(True, description="Also clip the output layer.")


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


class HareAndTortoise(Fields):
    hare_tortoise_decay: Decay = Field(0.999, description="Decay of the slow copy, the tortoise.")
    hare_tortoise_period: Int = Field(
        120, ge=1, description="Steps between two resets of the weights to the slow copy."
    )


HARE_TORTOISE = Method(
    name="hare_tortoise",
    title="Hare & Tortoise",
    sentence="Keep a slow running mean of the weights. Measure it, and set the weights to it every few steps.",
    source="lee2024slow",
    fields=HareAndTortoise,
    equation="""\
after every update: slow <- hare_tortoise_decay slow + (1 - hare_tortoise_decay) w
every hare_tortoise_period steps: w <- slow""",
    colour="#117733",
    code="lop_engine.methods.hare_tortoise:HareAndTortoise",
    mixes_settings=True,
)


class SnpKumar(Fields):
    snp_kumar_shrink: Annotated[Proportion, PER_RUN] = Field(
        1e-4, description="Share by which weights shrink in each step."
    )
    snp_kumar_perturb: PerRun = Field(1e-4, ge=0, description="Factor of the weights of a new network.")


SNP_KUMAR = Method(
    name="snp_kumar",
    title="shrink and perturb, per step",
    sentence="After every step, shrink the weights and add a small multiple of those of a fresh network.",
    source="kumar2025maintaining",
    fields=SnpKumar,
    equation="""\
after every update: w <- (1 - snp_kumar_shrink) w + snp_kumar_perturb w0,    w0: a fresh network, drawn in each step""",
    colour="#44AA99",
    code="lop_engine.methods.snp_kumar:ShrinkAndPerturbEveryStep",
    mixes_settings=True,
)


class Parseval(Fields):
    parseval_strength: PerRun = Field(1e-4, ge=0, description="Factor of the penalty.")
    parseval_scale: PerRun = Field(1.0, gt=0, description="Squared norm that the penalty favours for every row.")
    parseval_head: Flag = Field(True, description="Also penalise the output layer.")


PARSEVAL = Method(
    name="parseval",
    title="Parseval regularisation",
    sentence="Penalise weight matrices whose rows are not orthogonal or do not have a given norm.",
    source="chung2024parseval",
    fields=Parseval,
    equation="""\
loss + parseval_strength sum ||W W^T - parseval_scale I||^2,    W: a layer's weight as a matrix (outputs, rest)""",
    colour="#DDCC77",
    code="lop_engine.methods.parseval:Parseval",
    mixes_settings=True,
)


class Spectral(Fields):
    spectral_strength: PerRun = Field(1e-4, ge=0, description="Factor of the penalty.")
    spectral_power: Int = Field(2, ge=1, description="Power k of the largest singular values.")
    spectral_biases: Flag = Field(True, description="Also penalise biases.")
    spectral_head: Flag = Field(True, description="Also penalise the output layer.")


SPECTRAL = Method(
    name="spectral",
    title="spectral regularisation",
    sentence="Penalise weights whose largest singular value is not 1, and large biases.",
    source="lewandowski2025learning",
    fields=Spectral,
    equation="""\
loss + spectral_strength (sum (sigma(W)^k - 1)^2 + sum ||b||^(2k)),    k = spectral_power
sigma(W): the largest singular value of a layer's weight as a matrix (outputs, rest)""",
    colour="#661100",
    code="lop_engine.methods.spectral:Spectral",
    mixes_settings=True,
)

METHODS_OF_WEIGHTS = (L2_INIT, UPGD, ADAUPGD, WEIGHT_CLIPPING, HARE_TORTOISE, SNP_KUMAR, PARSEVAL, SPECTRAL)
