"""Descriptions of the methods, in the order in which they are listed."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lop_engine.experiment.components import Method, Need
from lop_engine.experiment.fields import PER_RUN, Decay, Fields, Flag, Int, PerRun, Proportion, integral
from lop_engine.experiment.methods_at_boundaries import METHODS_AT_BOUNDARIES
from lop_engine.experiment.methods_in_steps import METHODS_IN_STEPS

HIDDEN_UNITS = frozenset[Need]({"hidden units"})


def _is_positive(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key)
    return isinstance(value, int | float) and value > 0


def _perturbs(values: Mapping[str, Any]) -> bool:
    return _is_positive(values, "perturb_scale")


BP = Method(
    name="bp",
    title="backprop",
    sentence="Backpropagation and nothing else.",
    source="rumelhart1986learning",
    equation="w <- w - step_size g",
    colour="#D55E00",
    code="lop_engine.methods.method:Method",
    mixes_settings=True,
)

L2 = Method(
    name="l2",
    title="L2 regularisation",
    sentence="Backprop with weight decay: the optimiser's weight_decay.",
    source="dohare2024loss",
    equation="w <- w - step_size (g + weight_decay w)",
    colour="#E69F00",
    code="lop_engine.methods.method:Method",
    mixes_settings=True,
    also={"bp": lambda values: _is_positive(values, "weight_decay") and not _perturbs(values)},
)


class Perturbation(Fields):
    perturb_scale: PerRun = Field(0.0, ge=0, description="Standard deviation of the noise added at every step.")


SNP = Method(
    name="snp",
    title="shrink and perturb",
    sentence="Weight decay shrinks the weights, and Gaussian noise perturbs them after every step.",
    source="ash2020warm",
    fields=Perturbation,
    equation="w <- w - step_size (g + weight_decay w) + perturb_scale n,    n ~ N(0, 1)",
    colour="#009E73",
    code="lop_engine.methods.shrink_and_perturb:Perturbation",
    mixes_settings=True,
    also={"bp": _perturbs, "l2": _perturbs},
)

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
Accrual = Literal["all", "eligible"]


class Replacement(Fields):
    """What both variants of continual backprop take."""

    replacement_rate: Annotated[Proportion, PER_RUN] = Field(
        1e-4, description="Share of a layer's units replaced in each step."
    )
    maturity_threshold: Annotated[Int, PER_RUN] = Field(
        100, ge=0, description="Steps before a new unit may be replaced."
    )


class ContinualBackprop(Replacement):
    decay_rate: Decay = Field(0.99, description="Decay of a unit's mean utility.")
    util_type: Utility = Field("contribution", description="How a unit's utility is measured.")
    net_type: NetType = Field(1, description="2 means agent cbp2.")
    budget_accrual: Accrual | None = Field(
        None, description="Units on which the number to replace accrues: all of the layer, or the eligible ones."
    )

    @property
    def accrual(self) -> Accrual:
        """All units, as in the published results, unless the file says otherwise."""
        return self.budget_accrual or "all"


def _layered(value: Any) -> Any:
    """Older run.json files of agent cbp2 hold 1, the default of agent cbp."""
    return 2 if integral(value) == 1 else integral(value)


class LayeredContinualBackprop(Replacement):
    net_type: Annotated[Literal[2], BeforeValidator(_layered)] = Field(
        2, description="2, the reference's name for this variant."
    )
    budget_accrual: Accrual | None = Field(
        None, description="Units on which the number to replace accrues: the eligible ones, or all of the layer."
    )

    @property
    def decay_rate(self) -> float:
        """A unit's utility is that of one batch."""
        return 0.0

    @property
    def util_type(self) -> Utility:
        return "contribution"

    @property
    def accrual(self) -> Accrual:
        """The eligible units, as in the reference's variant, unless the file says otherwise."""
        return self.budget_accrual or "eligible"


CBP = Method(
    name="cbp",
    title="continual backprop",
    sentence="Replace a few units of lowest utility by new ones in every step.",
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

LINEAR = Method(
    name="linear",
    title="linear baseline",
    sentence="Backprop on a linear network.",
    source="dohare2024loss",
    equation="outputs = W x + b;  w <- w - step_size g",
    colour="#999999",
    code="lop_engine.methods.method:Method",
    mixes_settings=True,
    network="linear",
)


class ReDo(Fields):
    redo_tau: PerRun = Field(0.025, ge=0, description="A unit is dormant if its score is at most this.")
    redo_period: Int = Field(1000, ge=1, description="Steps from one recycling of dormant units to the next.")
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
    fields=ReDo,
    needs=HIDDEN_UNITS,
    equation="""\
score of a unit = mean |h| / (mean of mean |h| over its layer + 1e-9)
every redo_period steps, score <= redo_tau: incoming weights as initially, bias 0, outgoing weights 0""",
    colour="#CC79A7",
    code="lop_engine.methods.redo:ReDo",
    mixes_settings=True,
)


class L2Init(Fields):
    l2_init: PerRun = Field(1e-3, ge=0, description="Strength of the pull towards the initial weights.")


L2_INIT = Method(
    name="l2_init",
    title="L2 Init",
    sentence="Penalise the distance of the weights from their initial values.",
    source="kumar2025maintaining",
    fields=L2Init,
    equation="loss + l2_init / 2 sum (w - w0)^2",
    colour="#8B5A2B",
    code="lop_engine.methods.l2_init:L2Init",
    mixes_settings=True,
)


class UPGD(Fields):
    upgd_beta_utility: Decay = Field(0.999, description="Decay of the running mean of a weight's utility.")
    upgd_sigma: PerRun = Field(1e-3, ge=0, description="Standard deviation of the noise in the update.")
    upgd_protecting: Flag = Field(True, description="Let the utility gate gradient and noise; else, the noise alone.")


UPGD_ = Method(
    name="upgd",
    title="UPGD",
    sentence="Perturbed gradient descent that changes a weight the less, the more useful it is.",
    source="elsayed2024addressing",
    fields=UPGD,
    equation="""\
u <- upgd_beta_utility u - (1 - upgd_beta_utility) g w;  s = sigmoid(corrected u / largest u);  n ~ N(0, upgd_sigma^2)
w <- (1 - step_size weight_decay) w - step_size (1 - s) (g + n)
upgd_protecting false: w <- (1 - step_size weight_decay) w - step_size (g + (1 - s) n)""",
    colour="#BB22FF",
    code="lop_engine.methods.upgd:UPGD",
    mixes_settings=True,
    has_own_update=True,
)

METHODS = (BP, L2, SNP, CBP, CBP2, REDO, L2_INIT, UPGD_, *METHODS_IN_STEPS, *METHODS_AT_BOUNDARIES, LINEAR)
