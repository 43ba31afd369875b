"""Every metric as charts and figures show it: its name, unit and scale. The one table of them."""

from dataclasses import dataclass
from typing import Literal

Scale = Literal["linear", "percent", "log", "log percent"]
"""The scale of a y axis; `percent` shows a proportion 0 .. 1 as 0 .. 100."""


def is_log(scale: Scale) -> bool:
    return scale.startswith("log")


def factor_of(scale: Scale) -> int:
    """The factor from a recorded value to the units of the scale."""
    return 100 if scale.endswith("percent") else 1


@dataclass(frozen=True)
class Measure:
    """A metric of `lop_engine.records`, as a person sees it."""

    metric: str
    name: str
    """In words, without the unit: ``test accuracy``."""
    unit: Literal["%", ""] = ""
    scale: Scale = "linear"
    from_zero: bool = True
    """A linear axis begins at 0: for metrics whose natural limit that is."""
    least_span: float = 0.0
    """The axis is never shorter than this, in its own units: noise shall not look like a trend."""

    @property
    def title(self) -> str:
        """A chart's heading: ``test accuracy, %``, ``curvature, log scale``."""
        return ", ".join(filter(None, (self.name, self.unit, "log scale" if is_log(self.scale) else "")))

    @property
    def label(self) -> str:
        """A figure's axis: ``test accuracy (%)``."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def factor(self) -> int:
        """What a recorded value is multiplied by to be in `unit`."""
        return 100 if self.unit == "%" else 1


def _percent(metric: str, name: str, from_zero: bool = True, least_span: float = 1) -> Measure:
    return Measure(metric, name, "%", "percent", from_zero, least_span)


_TABLE = (
    _percent("train_accuracy", "train accuracy", from_zero=False, least_span=10),
    _percent("test_accuracy", "test accuracy", from_zero=False, least_span=10),
    Measure("curvature", "curvature", scale="log"),
    Measure("weight_magnitude", "weight magnitude", least_span=0.01),
    _percent("dormant_proportion", "dormant units"),
    Measure("effective_rank", "effective rank", least_span=5),
    Measure("stable_rank", "stable rank", least_span=5),
    Measure("nuclear_frobenius_ratio", "nuclear / Frobenius norm", least_span=1),
    Measure("frobenius_spectral_ratio", "squared Frobenius / spectral norm", least_span=1),
    Measure("srank", "srank", least_span=5),
    _percent("tau_dormant_proportion", "tau-dormant units"),
    _percent("dead_proportion", "dead units"),
    Measure("gradient_norm", "gradient norm", scale="log"),
    *(_percent(f"dormant_proportion_{layer}", f"dormant units, layer {layer}") for layer in range(1, 6)),
)

MEASURES: dict[str, Measure] = {measure.metric: measure for measure in _TABLE}
"""By metric, in the order of `lop_engine.records.ALL_METRICS`."""

#: What the dashboard shows first, in its order.
DEFAULT_METRICS = (
    "test_accuracy",
    "curvature",
    "dormant_proportion",
    "effective_rank",
    "stable_rank",
    "weight_magnitude",
)
