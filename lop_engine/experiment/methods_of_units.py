"""Descriptions of methods that re-initialise hidden units: continual backprop and others."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lop_engine.experiment.components import HIDDEN_UNITS, Method
from lop_engine.experiment.fields import PER_RUN, Decay, Fields, Int, PerRun, Proportion, integral

Utility = Literal[
    "contribution",
    "zero_contribution",
    "adaptable_contribution",
    "adaptation",
    "weight",
    "feature_by_input",
    "random",
]
NetType = Annotated[Literal[1, 2], BeforeValidator(integral)]
Accrual = Literal["all", "eligible", "bernoulli"]


class Replacement(Fields):
    """Keys of both variants of continual backprop."""

    replacement_rate: Annotated[Proportion, PER_RUN] = Field(
        1e-4, description="Share of a layer's units replaced in each step."
    )
    maturity_threshold: Annotated[Int, PER_RUN] = Field(
        100, ge=0, description="Steps before a new unit may be replaced."
    )


class ContinualBackprop(Replacement):
    decay_rate: Decay = Field(0.99, description="Decay of a unit's mean utility.")
    util_type: Utility = Field("contribution", description="How a unit's utility is measured.")
    net_type: NetType = Field(1, description="1; 2 selects the method cbp2.")
    budget_accrual: Accrual | None = Field(
        None,
        description="Units that count for the number to replace: all units of the layer, or the eligible ones. "
        "bernoulli replaces one unit with probability replacement_rate x eligible units.",
    )

    @property
    def accrual(self) -> Accrual:
        """Default: all units, as in the published results."""
        return self.budget_accrual or "all"


def _layered(value: Any) -> Any:
    """Older run.json files of agent cbp2 contain 1, the default of agent cbp."""
    return 2 if integral(value) == 1 else integral(value)


class LayeredContinualBackprop(Replacement):
    net_type: Annotated[Literal[2], BeforeValidator(_layered)] = Field(
        2, description="2, the reference's name for this variant."
    )
    budget_accrual: Accrual | None = Field(
        None,
        description="Units that count for the number to replace: the eligible ones, or all units of the layer. "
        "bernoulli replaces one unit with probability replacement_rate x eligible units.",
    )

    @property
    def decay_rate(self) -> float:
        """The utility of a unit is that of one batch."""
        return 0.0

    @property
    def util_type(self) -> Utility:
        return "contribution"

    @property
    def accrual(self) -> Accrual:
        """Default: the eligible units, as in the reference's variant."""
        return self.budget_accrual or "eligible"


CBP = Method(
    name="cbp",
    title="continual backprop",
    sentence="In every step, replace a few hidden units of lowest utility with new ones.",
    source="dohare2024loss",
    fields=ContinualBackprop,
    needs=HIDDEN_UNITS,
    equation="""\
age += 1;  u <- decay_rate u + (1 - decay_rate) utility of the batch
contribution: |h - mean of h| x mean |outgoing weight|;  adaptable_contribution: that / mean |incoming weight|
budget += replacement_rate x units;  of the units with age > maturity_threshold, the floor(budget) of lowest
u / (1 - decay_rate^age) start over: incoming weights as initially, bias 0, outgoing weights 0, age 0, u 0""",
    colour="#0072B2",
    code="lop_engine.methods.continual_backprop:GenerateAndTest",
    mixes_settings=True,
)

CBP2 = Method(
    name="cbp2",
    title="continual backprop, layered",
    sentence="Continual backprop inside the backward pass, with the utility of one batch.",
    source="dohare2024loss",
    fields=LayeredContinualBackprop,
    needs=HIDDEN_UNITS,
    equation="""\
u = mean |h| x mean |outgoing weight| of the batch
budget += replacement_rate x eligible units;  the floor(budget) eligible units of lowest u start over as in cbp""",
    colour="#56B4E9",
    code="lop_engine.methods.layered_continual_backprop:LayeredGenerateAndTest",
    mixes_settings=True,
    also={"cbp": lambda values: values.get("net_type") == 2},
)


class RecyclingKeys(Fields):
    """Keys of both variants of ReDo."""

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
        "reset", description="Keep or reset the optimiser's moments of a recycled unit's weights."
    )


REDO = Method(
    name="redo",
    title="ReDo",
    sentence="Every few steps, give dormant hidden units new incoming weights and zero outgoing weights.",
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
    sentence="Every few steps, give dormant hidden units their initial incoming weights and zero outgoing weights.",
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
    regrama_threshold: PerRun = Field(0.01, ge=0, description="A unit is reset if its score is at most this.")
    regrama_period: Int = Field(1000, ge=1, description="Steps from one reset of units to the next.")
    regrama_optimizer_state: Literal["reset", "keep"] = Field(
        "reset", description="Keep or reset the optimiser's moments of a new unit's weights and bias."
    )


REGRAMA = Method(
    name="regrama",
    title="ReGraMa",
    sentence="Every few steps, re-initialise hidden units whose weights have small gradients.",
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
        0.9, description="Quantile of a unit's silent periods that its threshold follows."
    )
    snr_threshold: Annotated[Int, PER_RUN] = Field(
        1000, ge=1, description="First threshold: examples for which a unit must be silent before it is reset."
    )
    snr_factor: PerRun = Field(
        2.0,
        ge=1,
        description="Multiplies a unit's threshold after a task in which the unit was rarely silent for that long.",
    )
    snr_max_threshold: Int = Field(20000, ge=1, description="Upper limit of the threshold, in examples.")
    snr_threshold_tasks: Int = Field(1, ge=1, description="Tasks from one update of the thresholds to the next.")
    snr_optimizer_state: Literal["reset", "keep"] | None = Field(
        None,
        description="Keep or reset the optimiser's moments of a new unit's weights and bias; by default SGD keeps "
        "its momentum, and other optimisers reset.",
    )


SNR = Method(
    name="snr",
    title="Self-Normalized Resets",
    sentence="Re-initialise hidden units that are silent for longer than they usually are.",
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

METHODS_OF_UNITS = (CBP, CBP2, REDO, REDO_KUMAR, REGRAMA, SNR)
