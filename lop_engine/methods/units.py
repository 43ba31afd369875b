"""Re-initialises hidden units: incoming weights, bias, outgoing weights, and their optimiser state.

Dimensions: S seeds, F units of a layer, O units of the next, C outputs of a unit (2 with CReLU, else 1), P columns of
the next layer's weight that an output feeds, K entries of a kernel, R candidates, I incoming weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lop_engine.methods.method import Method, Setup
from lop_engine.methods.optimizers import Optimizer
from lop_engine.networks import Layer, Network, Params

Winner = Literal["incoming", "outgoing"]
"""Which write wins where a new unit's incoming row meets a new unit's outgoing column in the layer above."""


@dataclass(frozen=True)
class NewUnits:
    """Units of one hidden layer that are re-initialised."""

    mask_SF: Tensor
    """Mask of the units."""
    incoming: Tensor
    """New incoming weights: for each of `units_SR` (S, R, I), or for every unit in the shape of the layer's weight."""
    units_SR: Tensor | None = None
    """The units of `incoming`, each at most once; None for all in order."""
    bias_SF: Tensor | None = None
    """New biases of all units; None for 0."""


def reinitialise(params: Params, network: Network, new: Mapping[int, NewUnits], winner: Winner = "incoming") -> None:
    """Give units new incoming weights and biases, and zero outgoing weights, in place; resets their normalisation.

    Args:
        new: by hidden layer, from 0.
        winner: ``incoming``: layer by layer, so that a new unit's incoming weights stay whole, as in the reference's
            CBP.
            ``outgoing``: all zeros are written last, as in Dopamine's ReDo.
    """
    for index, units in sorted(new.items()):
        _write_incoming(params, network, index, units)
        if winner == "incoming":
            outgoing(params, network.layers[index + 1]).masked_fill_(units.mask_SF[:, None, :, None, None, None], 0)
    if winner == "outgoing":
        for index, units in new.items():
            outgoing(params, network.layers[index + 1]).masked_fill_(units.mask_SF[:, None, :, None, None, None], 0)


def forget(
    optimizer: Optimizer, network: Network, index: int, mask_SF: Tensor, *, bias: bool = True, counts: bool = True
) -> None:
    """Zero the optimiser's state of the incoming and outgoing weights of masked units.

    Args:
        bias: also that of their biases, and of the scale and shift of their normalisation.
        counts: also Adam's step counts.
    """
    layer, above = network.layers[index], network.layers[index + 1]
    incoming, columns = f"{layer.name}.weight", f"{above.name}.weight"
    norm = network.norm_of(index)
    own = [f"{layer.name}.bias", *([f"{norm}.weight", f"{norm}.bias"] if norm else [])] if bias else []
    for name in (incoming, columns, *own):
        for moment in optimizer.moments(name) + (optimizer.counts(name) if counts else []):
            if name == columns:
                _by_unit(moment, above).masked_fill_(mask_SF[:, None, :, None, None, None], 0)
            else:
                moment.masked_fill_(like(mask_SF, moment), 0)


def outgoing(params: Params, above: Layer) -> Tensor:
    """Return a view of the weight of the layer above, by units: (S, O, F, C, P, K)."""
    return _by_unit(params[f"{above.name}.weight"], above)


def like(mask_SF: Tensor, weight: Tensor) -> Tensor:
    """Expand a mask of units to broadcast over a weight (S, F, ...)."""
    return mask_SF.view(*mask_SF.shape, *[1] * (weight.dim() - 2))


def _by_unit(weight: Tensor, layer: Layer) -> Tensor:
    units = layer.inputs // layer.copies
    if layer.kernel:
        return weight.flatten(3).unflatten(2, (layer.copies, units)).transpose(2, 3).unsqueeze(4)
    return weight.unflatten(2, (layer.copies, units, layer.positions)).transpose(2, 3).unsqueeze(5)


def _write_incoming(params: Params, network: Network, index: int, units: NewUnits) -> None:
    name = network.layers[index].name
    weight, mask_SF = params[f"{name}.weight"], units.mask_SF
    if units.units_SR is None:
        weight.copy_(torch.where(like(mask_SF, weight), units.incoming.view(weight.shape), weight))
    else:
        rows_S1 = torch.arange(len(weight), device=weight.device).unsqueeze(1)
        old = weight[rows_S1, units.units_SR]
        mask = like(mask_SF.gather(1, units.units_SR), old)
        weight[rows_S1, units.units_SR] = torch.where(mask, units.incoming.view(old.shape).to(old.dtype), old)
    bias_SF = params[f"{name}.bias"]
    if units.bias_SF is None:
        bias_SF.masked_fill_(mask_SF, 0)
    else:
        bias_SF.copy_(torch.where(mask_SF, units.bias_SF, bias_SF))
    norm = network.norm_of(index)
    if norm:
        for kind, value in (("weight", 1), ("bias", 0)):
            scale = params[f"{norm}.{kind}"]
            scale.masked_fill_(like(mask_SF, scale), value)


class UnitResets(Method):
    """Draws incoming weights of all hidden units in one step of every `period`, the last one.

    Args:
        period: steps from one draw to the next.
    """

    def __init__(self, setup: Setup, period: int = 1) -> None:
        super().__init__(setup)
        self.network, self.period = setup.network, period
        self._sizes = [layer.outputs * layer.fan_in for layer in self.network.hidden_layers]
        self.numbers = setup.step_numbers(sum(self._sizes), Tensor.uniform_, every=period)

    def start_epoch(self, task: int, epoch: int) -> None:
        self.numbers.start_epoch(task, epoch)

    @property
    def variant(self) -> bool:
        """Return whether units may be reset after the coming step."""
        return (self.step + 1) % self.period == 0

    def draw(self) -> None:
        if self.variant:
            self.numbers.draw()

    def drawn_incoming(self, index: int) -> Tensor:
        """Return new incoming weights of every unit of hidden layer `index`, U(-b, b) as initially, (S, F, ...)."""
        layer, start = self.network.hidden_layers[index], sum(self._sizes[:index])
        drawn = self.numbers.of_step_SN[:, start : start + self._sizes[index]]
        bound = self.network.weight_bounds[layer.name]
        return drawn.unflatten(1, layer.weight_shape) * (2 * bound) - bound
