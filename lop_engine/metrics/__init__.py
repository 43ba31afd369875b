"""The metrics: pure tensor functions over the seed axis, each defined by its docstring (docs/metrics.md has them all).

`Measurement` computes those that a spec names. `lop_engine.experiment.metrics` describes them.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import MappingProxyType

import torch
from torch import Tensor

from lop_engine.device.transfers import HostCopies
from lop_engine.experiment.code import load
from lop_engine.experiment.components import Metric
from lop_engine.experiment.registry import METRICS
from lop_engine.metrics.inputs import MetricInputs
from lop_engine.metrics.ranks import singular_values
from lop_engine.metrics.weights import weight_magnitude

__all__ = ["Measurement", "MetricInputs", "compute", "measure", "weight_magnitude"]

SPECTRUM_THREADS = 4
"""Threads that compute the spectra of a GPU's seeds, about 2 ms per seed."""


class Measurement:
    """The named metrics of some inputs.

    The constructor queues the work on the device and the copy to the host. `result` waits for both and computes the
    metrics of the spectrum on the host, because torch computes singular values on a GPU seed by seed, waiting for each.

    Args:
        sound_S: false for a seed whose metrics are all to be NaN.
        measured: those of the metrics that were measured before, (S,) each.
    """

    def __init__(
        self,
        names: Iterable[str],
        inputs: MetricInputs,
        sound_S: Tensor,
        measured: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        self._names = list(names)
        self._of_spectrum = [
            name for name in self._names if METRICS[name].takes == ("spectrum",) and name not in measured
        ]
        self._others = [name for name in self._names if name not in self._of_spectrum]
        others = [measured[name] if name in measured else compute(METRICS[name], inputs) for name in self._others]
        values = [sound_S.float(), *others]
        #: Hidden layers whose spectra are looked at, from 1; 0 is the last one.
        self._layers = sorted({METRICS[name].layer for name in self._of_spectrum})
        self._find_spectrum = singular_values if sound_S.device.type == "cpu" else singular_values_in_threads
        self._on_their_way = HostCopies(
            [
                torch.stack([value.to(values[0].dtype) for value in values]),
                *(inputs.features_of(layer) for layer in self._layers),
            ]
        )

    def result(self) -> dict[str, Tensor]:
        """The metrics by name, in the order in which they were named, each (S,) on the host."""
        (is_sound_S, *values), *activations = self._on_their_way.result()
        by_name = dict(zip(self._others, values, strict=True))
        if self._of_spectrum:
            spectra = dict(zip(self._layers, map(self._find_spectrum, activations), strict=True))
            by_name |= {name: load(METRICS[name])(spectra[METRICS[name].layer]) for name in self._of_spectrum}
        return {name: torch.where(is_sound_S > 0, by_name[name], torch.nan) for name in self._names}


def compute(metric: Metric, inputs: MetricInputs) -> Tensor:
    """One metric on its device, (S,)."""
    if metric.takes == ("spectrum",):
        of_layer_S: Tensor = load(metric)(singular_values(inputs.features_of(metric.layer)))
        return of_layer_S
    value_S: Tensor = load(metric)(*(getattr(inputs, name) for name in metric.takes), *metric.settings)
    return value_S


def measure(names: Iterable[str], inputs: MetricInputs) -> dict[str, Tensor]:
    """The named metrics, each (S,) on the host. Waits for the device."""
    return Measurement(
        names, inputs, torch.ones(len(inputs.inputs), dtype=torch.bool, device=inputs.inputs.device)
    ).result()


def singular_values_in_threads(activations_SBF: Tensor) -> Tensor:
    """`singular_values` of a stack on the host, with its seeds divided among threads."""
    share = -(-len(activations_SBF) // SPECTRUM_THREADS)
    return torch.cat(list(_spectrum_threads().map(singular_values, activations_SBF.split(share))))


@cache
def _spectrum_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(SPECTRUM_THREADS, "spectrum")
