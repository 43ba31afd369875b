"""Descriptions of the methods, in display order."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from lop_engine.experiment.components import Method
from lop_engine.experiment.fields import Fields, PerRun
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
    sentence="Backpropagation without additions.",
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
    *METHODS_OF_UNITS,
    *METHODS_OF_WEIGHTS,
    *METHODS_AT_BOUNDARIES,
    LINEAR,
)
