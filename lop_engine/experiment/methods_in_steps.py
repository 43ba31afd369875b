"""Descriptions of methods that act in every step: slow copies, perturbations, penalties."""

from typing import Annotated

from pydantic import Field

from lop_engine.experiment.components import Method
from lop_engine.experiment.fields import PER_RUN, Decay, Fields, Flag, Int, PerRun, Proportion


class HareAndTortoise(Fields):
    hare_tortoise_decay: Decay = Field(0.999, description="Decay of the slow copy, the tortoise.")
    hare_tortoise_period: Int = Field(120, ge=1, description="Steps from one return to the slow copy to the next.")


HARE_TORTOISE = Method(
    name="hare_tortoise",
    title="Hare & Tortoise",
    sentence="Measure a slow copy of the network, and let the weights go back to it every few steps.",
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
    snp_kumar_shrink: Annotated[Proportion, PER_RUN] = Field(1e-4, description="Share by which weights shrink a step.")
    snp_kumar_perturb: PerRun = Field(1e-4, ge=0, description="Factor on the weights of a fresh network.")


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
    parseval_strength: PerRun = Field(1e-4, ge=0, description="Factor on the penalty.")
    parseval_scale: PerRun = Field(1.0, gt=0, description="Squared length that rows are drawn to.")
    parseval_head: Flag = Field(True, description="Whether the output layer is penalised, too.")


PARSEVAL = Method(
    name="parseval",
    title="Parseval regularisation",
    sentence="Penalise weights whose rows are not orthogonal to each other and of one length.",
    source="chung2024parseval",
    fields=Parseval,
    equation="""\
loss + parseval_strength sum ||W W^T - parseval_scale I||^2,    W: a layer's weight as a matrix (outputs, rest)""",
    colour="#DDCC77",
    code="lop_engine.methods.parseval:Parseval",
    mixes_settings=True,
)


class Spectral(Fields):
    spectral_strength: PerRun = Field(1e-4, ge=0, description="Factor on the penalty.")
    spectral_power: Int = Field(2, ge=1, description="Power k of the largest singular values.")
    spectral_biases: Flag = Field(True, description="Whether biases are penalised, too.")
    spectral_head: Flag = Field(True, description="Whether the output layer is penalised, too.")


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

METHODS_IN_STEPS = (HARE_TORTOISE, SNP_KUMAR, PARSEVAL, SPECTRAL)
