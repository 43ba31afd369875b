"""The metrics: pure tensor functions over the seed axis, each defined by its docstring (docs/metrics.md has them all).

`measure` computes those that a spec names. Names stand in `lop_engine.records`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from lop_engine.metrics import accuracies, gradients, ranks, units, weights
from lop_engine.metrics.curvature import curvature, random_directions
from lop_engine.metrics.probe import Probe
from lop_engine.metrics.weights import weight_magnitude
from lop_engine.records import NEED_HIDDEN

__all__ = ["REGISTRY", "Metric", "Probe", "measure", "weight_magnitude"]


@dataclass(frozen=True)
class Metric:
    """A function whose docstring is the definition, and how to call it on a probe."""

    function: Callable[..., Tensor]
    on_probe: Callable[[Probe], Tensor]


def _curvature(probe: Probe) -> Tensor:
    count = probe.num_curvature_images or probe.images.shape[1]
    images, labels = probe.images[:, :count], probe.labels[:, :count]
    return curvature(probe.net, probe.params, images, labels, random_directions(images, probe.generators))


def _of_units(function: Callable[..., Tensor], *settings: int) -> Metric:
    return Metric(function, lambda probe: function(probe.hidden, *settings))


def _of_spectrum(function: Callable[..., Tensor]) -> Metric:
    return Metric(function, lambda probe: function(probe.spectrum))


REGISTRY: dict[str, Metric] = {
    "train_accuracy": Metric(accuracies.train_accuracy, lambda p: accuracies.train_accuracy(p.batch_accuracies)),
    "test_accuracy": Metric(
        accuracies.test_accuracy,
        lambda p: accuracies.test_accuracy(p.net, p.params, p.test_images, p.test_labels),
    ),
    "curvature": Metric(curvature, _curvature),
    "weight_magnitude": Metric(weights.weight_magnitude, lambda p: weights.weight_magnitude(p.params)),
    "dormant_proportion": _of_units(units.dormant_proportion),
    "effective_rank": _of_spectrum(ranks.effective_rank),
    "stable_rank": _of_spectrum(ranks.stable_rank),
    "nuclear_frobenius_ratio": _of_spectrum(ranks.nuclear_frobenius_ratio),
    "frobenius_spectral_ratio": _of_spectrum(ranks.frobenius_spectral_ratio),
    "srank": _of_spectrum(ranks.srank),
    "tau_dormant_proportion": _of_units(units.tau_dormant_proportion),
    "dead_proportion": _of_units(units.dead_proportion),
    "gradient_norm": Metric(
        gradients.gradient_norm, lambda p: gradients.gradient_norm(p.net, p.params, *p.first_batch)
    ),
    **{f"dormant_proportion_{n}": _of_units(units.layer_dormant_proportion, n) for n in range(1, 6)},
}


def measure(names: Iterable[str], probe: Probe) -> dict[str, Tensor]:
    """The named metrics of a probe, each (S,); those that need hidden layers are left out where there are none."""
    chosen = {name: REGISTRY[name] for name in names}
    return {name: m.on_probe(probe) for name, m in chosen.items() if probe.hidden or name not in NEED_HIDDEN}
