"""Self-Normalized Resets (Farias & Jozefiak, ICLR 2025): start hidden units over that are silent for unusually long.

A unit's age is the number of examples since it last fired: since an activation in a batch was above 0, at any position.
After every optimiser step the units whose age has reached their threshold get new incoming weights, zero bias and zero
outgoing weights, layer by layer: a new unit's incoming weights stay whole.

Each unit's threshold follows its own histogram of ages at which it fired or started over. At the end of a task let q be
the smallest age > 0 that a share `snr_quantile` of the histogram's entries does not exceed; entries of age 0, and ages
beyond `snr_max_threshold`, are not counted. The threshold becomes q if that is lower, else `snr_factor` times itself,
but at least `mini_batch_size` and at most `snr_max_threshold`. A unit without entries has q = 1, as in the authors'
code. Then the histograms start over.

A unit fires if one of its outputs is above 0. With most activations that is if its input is; with crelu unless its
input is 0, with fourier if sin x or cos x is above 0, with sigmoid always.

A step costs more than backprop's where the network is small: it draws incoming weights for every unit, because which
units start over is known only on the device.

Dimensions: S runs, F units of a layer, A bins of age.
"""

from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor

from lop_engine.experiment import methods_of_units as described
from lop_engine.methods import units
from lop_engine.methods.method import Batch, Forward, Setup
from lop_engine.methods.optimizers import SGD, Grads
from lop_engine.methods.runs import like
from lop_engine.methods.units import UnitResets
from lop_engine.networks import Hidden, Params


@dataclass(frozen=True)
class LayerAges:
    """State of one hidden layer."""

    age_SF: Tensor
    """Examples since the unit last fired or started over, int64."""
    threshold_SF: Tensor
    histogram_SFA: Tensor
    """Ages at which the unit fired or started over, since the last update of the threshold, int32."""


class SelfNormalizedResets(UnitResets):
    """Resets units by their ages."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.SNRKeys)
        spec = setup.spec
        # Ages are sums of batch sizes, so bins of their common divisor lose nothing.
        rest = spec.parts.problem.num_examples(spec) % spec.mini_batch_size
        self.bin_width = gcd(spec.mini_batch_size, rest)
        num_bins = self.own.snr_max_threshold // self.bin_width + 1
        self.layers = [self._new_ages(layer.outputs, num_bins) for layer in self.network.hidden_layers]
        keeps = self.own.snr_optimizer_state or ("keep" if isinstance(setup.optimizer, SGD) else "reset")
        self._forgets = keeps == "reset"

    def _new_ages(self, num_units: int, num_bins: int) -> LayerAges:
        def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(len(self.setup.seeds), num_units, *shape, dtype=dtype, device=self.setup.device)

        threshold_SF = zeros(dtype=self.setup.dtype)
        threshold_SF.add_(like(self.own.snr_threshold, threshold_SF))
        return LayerAges(zeros(dtype=torch.int64), threshold_SF, zeros(num_bins, dtype=torch.int32))

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        for index, layer in enumerate(hidden):
            fired_SF = self.fires(index, layer)
            self.layers[index].age_SF.add_(~fired_SF, alpha=batch.inputs.shape[1])
            self._count(index, fired_SF)
        masks = [self.overdue(index) for index in range(len(hidden))]
        new = {index: units.NewUnits(mask_SF, self.drawn_incoming(index)) for index, mask_SF in enumerate(masks)}
        units.reinitialise(params, self.network, new)
        for index, mask_SF in enumerate(masks):
            self._count(index, mask_SF)
            if self._forgets and self.setup.optimizer:
                units.forget(self.setup.optimizer, self.network, index, mask_SF, counts=False)

    def fires(self, index: int, layer: Hidden) -> Tensor:
        """Return which units of hidden layer `index` fired for any example, at any position, (S, F)."""
        activation = layer.activation.unflatten(2, (self.network.layers[index + 1].copies, -1))
        return activation.amax((1, 2, *range(4, activation.dim()))) > 0

    def overdue(self, index: int) -> Tensor:
        """Return which units of hidden layer `index` have been silent long enough to be reset, (S, F)."""
        return self.layers[index].age_SF >= self.layers[index].threshold_SF

    def _count(self, index: int, mask_SF: Tensor) -> None:
        """Count the ages of masked units in their histograms, and reset them to 0."""
        age_SF, histogram_SFA = self.layers[index].age_SF, self.layers[index].histogram_SFA
        entries_SF = mask_SF & (age_SF <= self.own.snr_max_threshold)
        bins_SF = ((age_SF + self.bin_width - 1) // self.bin_width).clamp(max=histogram_SFA.shape[2] - 1)
        histogram_SFA.scatter_add_(2, bins_SF.unsqueeze(2), entries_SF.unsqueeze(2).int())
        age_SF.masked_fill_(mask_SF, 0)

    def end_task(self, task: int) -> None:
        if (task + 1) % self.own.snr_threshold_tasks:
            return
        for layer in self.layers:
            entries_SFA = layer.histogram_SFA[..., 1:]
            share_SFA = entries_SFA.cumsum(2).double() / entries_SFA.sum(2, keepdim=True)
            usual_SF = ((share_SFA >= like(self.own.snr_quantile, share_SFA)).int().argmax(2) + 1) * self.bin_width
            usual_SF = usual_SF.where(entries_SFA.sum(2) > 0, 1).to(layer.threshold_SF.dtype)
            longer_SF = layer.threshold_SF * like(self.own.snr_factor, layer.threshold_SF)
            threshold_SF = usual_SF.where(usual_SF < layer.threshold_SF, longer_SF)
            most = self.own.snr_max_threshold
            layer.threshold_SF.copy_(threshold_SF.clamp(max=most).clamp(min=self.setup.spec.mini_batch_size))
            layer.histogram_SFA.zero_()

    def state(self) -> dict[str, Tensor]:
        return {
            f"{layer.name}.{name.rpartition('_')[0]}": tensor
            for layer, ages in zip(self.network.hidden_layers, self.layers, strict=True)
            for name, tensor in vars(ages).items()
        }
