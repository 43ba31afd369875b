"""Descriptions of methods that act at the start of every task but the first."""

from typing import Annotated, Literal

from pydantic import Field

from lop_engine.experiment.components import Method
from lop_engine.experiment.fields import PER_RUN, Fields, Int, Proportion

NewWeights = Literal["fresh", "initial"]
OptimizerState = Literal["reset", "keep"]


class SnpTask(Fields):
    snp_task_shrink: Annotated[Proportion, PER_RUN] = Field(0.8, description="Share by which the weights shrink.")
    snp_task_perturb: Annotated[float | None, PER_RUN] = Field(
        None, ge=0, description="Factor on the weights that are added; by default snp_task_shrink."
    )
    snp_task_weights: NewWeights = Field(
        "fresh", description="Weights that are added: of a network drawn anew (fresh), or of the run's start (initial)."
    )
    snp_task_optimizer_state: OptimizerState = Field("reset", description="What becomes of the optimiser's state.")


SNP_TASK = Method(
    name="snp_task",
    title="shrink and perturb, per task",
    sentence="At the start of a task, shrink the weights and add a multiple of those of a fresh network.",
    source="ash2020warm",
    fields=SnpTask,
    equation="""\
at a task's start: w <- (1 - snp_task_shrink) w + snp_task_perturb w0,    w0: weights of a fresh network""",
    colour="#88CCEE",
    code="lop_engine.methods.snp_task:ShrinkAndPerturbAtBoundary",
    mixes_settings=True,
)


class HeadReset(Fields):
    head_reset_layers: Int = Field(
        1,
        ge=1,
        description="How many of the last layers start over; 1 is the output layer alone.",
    )
    head_reset_weights: NewWeights = Field(
        "fresh", description="Their weights: drawn anew (fresh), or those of the run's start (initial)."
    )
    head_reset_optimizer_state: OptimizerState = Field(
        "reset", description="What becomes of the optimiser's state of these layers."
    )


HEAD_RESET = Method(
    name="head_reset",
    title="head reset",
    sentence="At the start of a task, the last layers start over.",
    source="nikishin2022primacy",
    fields=HeadReset,
    equation="at a task's start, in the last head_reset_layers layers: w <- w0,    w0: weights of a fresh network",
    colour="#AA4499",
    code="lop_engine.methods.head_reset:HeadReset",
    mixes_settings=True,
)


class FullReset(Fields):
    full_reset_weights: NewWeights = Field(
        "fresh", description="New weights: drawn anew (fresh), or those of the run's start (initial)."
    )


FULL_RESET = Method(
    name="full_reset",
    title="full reset",
    sentence="A new network and optimiser for every task: the level without loss of plasticity.",
    source="ash2020warm",
    fields=FullReset,
    equation="at a task's start: w <- w0, and the optimiser starts over,    w0: weights of a fresh network",
    colour="#332288",
    code="lop_engine.methods.full_reset:FullReset",
    mixes_settings=True,
)

METHODS_AT_BOUNDARIES = (SNP_TASK, HEAD_RESET, FULL_RESET)
