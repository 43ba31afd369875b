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
        None, ge=0, description="Factor of the weights that are added; by default snp_task_shrink."
    )
    snp_task_weights: NewWeights = Field(
        "fresh", description="Weights to add: of a new random network (fresh), or the run's initial ones (initial)."
    )
    snp_task_optimizer_state: OptimizerState = Field("reset", description="Keep or reset the optimiser's state.")


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


class Dash(Fields):
    dash_alpha: Annotated[Proportion, PER_RUN] = Field(
        0.3, description="Share of each batch's gradient in the running mean."
    )
    dash_lambda: Annotated[Proportion, PER_RUN] = Field(0.3, description="The smallest factor on a weight.")
    dash_optimizer_state: OptimizerState = Field("keep", description="Keep or reset the optimiser's state.")


DASH = Method(
    name="dash",
    title="DASH",
    sentence="At the start of a task, shrink the weights that point against its negative gradient.",
    source="shin2024dash",
    fields=Dash,
    equation="""\
at a task's start, over its batches: G <- (1 - dash_alpha) G - dash_alpha g,    from G = 0
each row, kernel or bias w: w <- w max(dash_lambda, cos(w, G))""",
    colour="#6699CC",
    code="lop_engine.methods.dash:Dash",
    mixes_settings=True,
)


class Fire(Fields):
    fire_iterations: Int = Field(10, ge=1, le=1000, description="Newton-Schulz iterations.")
    fire_optimizer_state: OptimizerState = Field("reset", description="Keep or reset the optimiser's state.")


FIRE = Method(
    name="fire",
    title="FIRE",
    sentence="At the start of a task, replace the weights with nearby orthogonal ones.",
    source="han2026fire",
    fields=Fire,
    equation="""\
at a task's start, each weight: X = W / ||W||;  fire_iterations times: X <- 1.5 X - 0.5 X X^T X
W <- sqrt(outputs / inputs) / (entries of a kernel) X,    every kernel position a matrix (outputs, inputs)""",
    colour="#EE3377",
    code="lop_engine.methods.fire:Fire",
    mixes_settings=True,
)


class PlasticityInjection(Fields):
    injection_layers: Int = Field(2, ge=2, description="How many of the last linear layers get new weights.")
    injection_after: Int = Field(1, ge=1, description="Number of tasks before the injection.")


PLASTICITY_INJECTION = Method(
    name="plasticity_injection",
    title="plasticity injection",
    sentence="Before one task, freeze the last layers and add new ones that do not change the outputs.",
    source="nikishin2023deep",
    fields=PlasticityInjection,
    needs=frozenset({"hidden units", "linear layers at the end"}),
    equation="""\
outputs = h(x; frozen) + h(x; new) - h(x; start),    h: the last injection_layers layers, x: what enters them
at the start of task injection_after + 1: frozen <- the layers' weights, new = start <- fresh weights; new learns""",
    colour="#999933",
    code="lop_engine.methods.plasticity_injection:PlasticityInjection",
    mixes_settings=True,
)


class HeadReset(Fields):
    head_reset_layers: Int = Field(
        1,
        ge=1,
        description="How many of the last layers are reset; 1 is only the output layer.",
    )
    head_reset_weights: NewWeights = Field(
        "fresh", description="Their new weights: random (fresh), or the run's initial ones (initial)."
    )
    head_reset_optimizer_state: OptimizerState = Field(
        "reset", description="Keep or reset the optimiser's state of these layers."
    )


HEAD_RESET = Method(
    name="head_reset",
    title="head reset",
    sentence="At the start of a task, re-initialise the last layers.",
    source="nikishin2022primacy",
    fields=HeadReset,
    equation="at a task's start, in the last head_reset_layers layers: w <- w0,    w0: weights of a fresh network",
    colour="#AA4499",
    code="lop_engine.methods.head_reset:HeadReset",
    mixes_settings=True,
)


class FullReset(Fields):
    full_reset_weights: NewWeights = Field(
        "fresh", description="New weights: random (fresh), or the run's initial ones (initial)."
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

METHODS_AT_BOUNDARIES = (SNP_TASK, DASH, FIRE, PLASTICITY_INJECTION, HEAD_RESET, FULL_RESET)
