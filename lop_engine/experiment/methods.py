"""Descriptions of the methods, in the order in which they are listed."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lop_engine.experiment.components import HIDDEN_UNITS, Method
from lop_engine.experiment.fields import PER_RUN, Decay, Fields, Int, PerRun, Proportion, integral
from lop_engine.experiment.methods_at_boundaries import METHODS_AT_BOUNDARIES
from lop_engine.experiment.methods_of_units import METHODS_OF_UNITS
from lop_engine.experiment.methods_of_weights import METHODS_OF_WEIGHTS


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
Accrual = Literal["all", "eligible", "bernoulli"]


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
        None,
        description="Units on which the number to replace accrues: all of the layer, or the eligible ones. bernoulli "
        "does not accrue: one unit with probability replacement_rate x eligible units.",
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
        None,
        description="Units on which the number to replace accrues: the eligible ones, or all of the layer. bernoulli "
        "does not accrue: one unit with probability replacement_rate x eligible units.",
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


METHODS = (
    BP,
    L2,
    SNP,
    CBP,
    CBP2,
    *METHODS_OF_UNITS,
    *METHODS_OF_WEIGHTS,
    *METHODS_AT_BOUNDARIES,
    LINEAR,
)
