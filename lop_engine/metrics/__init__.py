"""The metrics: pure tensor functions over the seed axis, each defined by its docstring (docs/metrics.md has them all).

`Measurement` computes those that a spec names. Their names are in `lop_engine.records`.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from lop_engine.metrics import accuracies, gradients, ranks, units, weights
from lop_engine.metrics.curvature import curvature, random_directions
from lop_engine.metrics.probe import Probe
from lop_engine.metrics.ranks import singular_values
from lop_engine.metrics.weights import weight_magnitude
from lop_engine.records import NEED_HIDDEN
from lop_engine.transfers import HostCopies

__all__ = ["REGISTRY", "Measurement", "Metric", "Probe", "measure", "weight_magnitude"]

SPECTRUM_THREADS = 4
"""Threads that compute the spectra of a GPU's seeds, about 2 ms per seed."""


@dataclass(frozen=True)
class Metric:
    """A function whose docstring is the definition, and how to call it on a probe."""

    function: Callable[..., Tensor]
    on_probe: Callable[[Probe], Tensor]
    of_spectrum: bool = False
    """Whether it depends only on the singular values, and is computed on the host."""


def _curvature(probe: Probe) -> Tensor:
    count = probe.num_curvature_images or probe.images.shape[1]
    images, labels = probe.images[:, :count], probe.labels[:, :count]
    return curvature(probe.net, probe.params, images, labels, random_directions(images, probe.generators))


def _of_units(function: Callable[..., Tensor], *settings: int) -> Metric:
    return Metric(function, lambda probe: function(probe.hidden, *settings))


def _of_spectrum(function: Callable[..., Tensor]) -> Metric:
    return Metric(function, lambda probe: function(probe.spectrum), of_spectrum=True)


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


class Measurement:
    """The named metrics of a probe, without those that need hidden layers if there are none.

    The constructor queues the work on the device and the copy to the host. `result` waits for both and computes the
    metrics of the spectrum on the host, because torch computes singular values on a GPU seed by seed, waiting for each.

    Args:
        sound_S: false for a seed whose metrics are all to be NaN.
    """

    def __init__(self, names: Iterable[str], probe: Probe, sound_S: Tensor) -> None:
        self._names = [name for name in names if probe.hidden or name not in NEED_HIDDEN]
        self._of_spectrum = [name for name in self._names if REGISTRY[name].of_spectrum]
        self._others = [name for name in self._names if not REGISTRY[name].of_spectrum]
        values = [sound_S.float(), *(REGISTRY[name].on_probe(probe) for name in self._others)]
        self._find_spectrum = singular_values if sound_S.device.type == "cpu" else _singular_values_in_threads
        self._on_their_way = HostCopies([torch.stack(values), *(probe.hidden[-1:] if self._of_spectrum else [])])

    def result(self) -> dict[str, Tensor]:
        """The metrics by name, in the order in which they were named, each (S,) on the host."""
        (is_sound_S, *values), *activations = self._on_their_way.result()
        found = dict(zip(self._others, values, strict=True))
        if self._of_spectrum:
            spectrum = self._find_spectrum(activations[0])
            found |= {name: REGISTRY[name].function(spectrum) for name in self._of_spectrum}
        return {name: torch.where(is_sound_S > 0, found[name], torch.nan) for name in self._names}


def measure(names: Iterable[str], probe: Probe) -> dict[str, Tensor]:
    """The named metrics of a probe, each (S,) on the host. Waits for the device."""
    return Measurement(names, probe, torch.ones_like(probe.labels[:, 0], dtype=torch.bool)).result()


def _singular_values_in_threads(activations_SBF: Tensor) -> Tensor:
    """`singular_values` of a stack on the host, with its seeds divided among threads."""
    share = -(-len(activations_SBF) // SPECTRUM_THREADS)
    return torch.cat(list(_spectrum_threads().map(singular_values, activations_SBF.split(share))))


@cache
def _spectrum_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(SPECTRUM_THREADS, "spectrum")
