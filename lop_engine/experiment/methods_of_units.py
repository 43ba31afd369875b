"""Descriptions of methods that start hidden units over."""

from typing import Annotated, Literal

from pydantic import Field

from lop_engine.experiment.components import HIDDEN_UNITS, Method
from lop_engine.experiment.fields import PER_RUN, Fields, Int, PerRun, Proportion


class RecyclingKeys(Fields):
    """What both variants of ReDo take."""

    redo_threshold: PerRun = Field(0.025, ge=0, description="A unit is dormant if its score is at most this.")
    redo_period: Int = Field(1000, ge=1, description="Steps from one recycling of dormant units to the next.")


class ReDoKeys(RecyclingKeys):
    redo_activations: Literal["relu", "pooled"] = Field(
        "relu", description="Score a convolution's activations before pooling (relu) or after it (pooled)."
    )
    redo_scores: Literal["fresh", "train"] = Field(
        "fresh", description="Score the batch with the weights after the update (fresh) or before it (train)."
    )
    redo_optimizer_state: Literal["reset", "keep"] = Field(
        "reset", description="What becomes of the optimiser's moments of a recycled unit's weights."
    )


REDO = Method(
    name="redo",
    title="ReDo",
    sentence="Recycle dormant hidden units every few steps: new incoming weights, zero outgoing weights.",
    source="sokar2023dormant",
    fields=ReDoKeys,
    needs=HIDDEN_UNITS,
    equation="""\
score of a unit = mean |h| / (mean of mean |h| over its layer + 1e-9)
every redo_period steps, score <= redo_threshold: incoming weights as initially, bias 0, outgoing weights 0""",
    colour="#CC79A7",
    code="lop_engine.methods.redo:ReDo",
    mixes_settings=True,
)

REDO_KUMAR = Method(
    name="redo_kumar",
    title="ReDo of Kumar et al.",
    sentence="Set dormant hidden units back to their initial weights every few steps, with zero outgoing weights.",
    source="kumar2025maintaining",
    fields=RecyclingKeys,
    needs=HIDDEN_UNITS,
    equation="""\
score of a unit = mean |h| / mean of mean |h| over its layer, in the step before
at the start of the step after every redo_period steps, score <= redo_threshold:
incoming weights and bias <- initial values, outgoing weights 0""",
    colour="#882255",
    code="lop_engine.methods.redo_kumar:KumarReDo",
    mixes_settings=True,
)


class ReGraMaKeys(Fields):
    regrama_threshold: PerRun = Field(0.01, ge=0, description="A unit starts over if its score is at most this.")
    regrama_period: Int = Field(1000, ge=1, description="Steps from one reset of units to the next.")
    regrama_optimizer_state: Literal["reset", "keep"] = Field(
        "reset", description="What becomes of the optimiser's moments of a new unit's weights and bias."
    )


REGRAMA = Method(
    name="regrama",
    title="ReGraMa",
    sentence="Start hidden units over whose weights have small gradients, every few steps.",
    source="liu2025measure",
    fields=ReGraMaKeys,
    needs=HIDDEN_UNITS,
    equation="""\
score of a unit = mean |g| of its incoming weights / (mean of these over its layer + 1e-8)
every regrama_period steps, score <= regrama_threshold: incoming weights as initially, bias 0, outgoing weights 0""",
    colour="#808000",
    code="lop_engine.methods.regrama:ReGraMa",
    mixes_settings=True,
)


class SNRKeys(Fields):
    snr_quantile: Annotated[Proportion, PER_RUN] = Field(
        0.9, description="Share of a unit's silences that are shorter than its threshold, or as long."
    )
    snr_threshold: Annotated[Int, PER_RUN] = Field(
        1000, ge=1, description="Examples for which a unit is silent before it starts over; of the first tasks."
    )
    snr_factor: PerRun = Field(
        2.0, ge=1, description="Factor on a unit's threshold after a task in which it was seldom silent for as long."
    )
    snr_max_threshold: Int = Field(20000, ge=1, description="Upper limit of the threshold, in examples.")
    snr_threshold_tasks: Int = Field(1, ge=1, description="Tasks from one update of the thresholds to the next.")
    snr_optimizer_state: Literal["reset", "keep"] | None = Field(
        None,
        description="What becomes of the optimiser's moments of a new unit's weights and bias; by default SGD keeps "
        "its momentum, and other optimisers reset.",
    )


SNR = Method(
    name="snr",
    title="Self-Normalized Resets",
    sentence="Start hidden units over that are silent for longer than is usual for them.",
    source="farias2025self",
    fields=SNRKeys,
    needs=HIDDEN_UNITS,
    equation="""\
age of a unit = examples since h > 0;  t = its threshold, at first snr_threshold
age >= t: incoming weights as initially, bias 0, outgoing weights 0, age 0
at a task's end q = the age > 0 that a share snr_quantile of its ages does not exceed, of when it fired or was reset
t <- q if q < t, else snr_factor t;  mini_batch_size <= t <= snr_max_threshold""",
    colour="#000080",
    code="lop_engine.methods.snr:SelfNormalizedResets",
    mixes_settings=True,
)

METHODS_OF_UNITS = (REDO, REDO_KUMAR, REGRAMA, SNR)
