"""Continual backprop (Dohare et al., Nature 2024, Algorithm 1): backprop with generate-and-test.

After every optimiser step each hidden layer's units age, their utilities are updated, and the few mature
units of lowest utility are replaced by new ones whose outgoing weights are zero.

Dimensions: S seeds, F units of the layer, O units of the next, P columns of the next layer's weight a unit
feeds (4 for the last convolution, else 1), R units that may be replaced in one step, I incoming weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from lop_engine.learners.learner import Mechanism
from lop_engine.learners.least_useful import least_useful
from lop_engine.learners.step_numbers import StepNumbers
from lop_engine.nets import ConvNet, Layer, Net, Params
from lop_engine.optimizers import Optimizer
from lop_engine.spec import Spec
from lop_engine.streams import Stream


@dataclass(frozen=True)
class LayerState:
    """What CBP remembers of one hidden layer, for every seed."""

    age_SF: Tensor
    """Steps since the unit was made."""
    utility_SF: Tensor
    mean_activation_SF: Tensor
    """Running mean of the unit's activation, not yet corrected for its start at zero."""
    budget_S: Tensor
    """Units that may be replaced, accrued in fractions; in double precision, as the reference's Python numbers."""


class GenerateAndTest(Mechanism):
    """Replaces units by utility, `spec.replacement_rate` of a layer's units a step, no unit before its maturity.

    Shapes are static: at most R = floor(1 + rate * F) units a layer can fall due in one step, so R are looked
    at and a mask says which of them are replaced.
    """

    def __init__(self, spec: Spec, net: ConvNet, params: Params, optimizer: Optimizer, seeds: Sequence[int]) -> None:
        self.spec, self.optimizer, self.seeds = spec, optimizer, list(seeds)
        self.hidden_layers, self.next_layers = net.layers[:-1], net.layers[1:]
        self.device = next(iter(params.values())).device
        self.layer_states = [self._new_state(layer.outputs) for layer in self.hidden_layers]
        self.max_replaced = [
            min(layer.outputs, int(1 + spec.replacement_rate * layer.outputs)) for layer in self.hidden_layers
        ]
        num_drawn = sum(r * layer.fan_in for r, layer in zip(self.max_replaced, self.hidden_layers, strict=True))
        if spec.util_type == "random":
            num_drawn += sum(layer.outputs for layer in self.hidden_layers)
        self._numbers = StepNumbers(spec, seeds, Stream.REPLACEMENT, num_drawn, Tensor.uniform_, self.device)
        self._uniform_SN = self._numbers.of_step_SN
        self._rows_S1 = torch.arange(len(seeds), device=self.device).unsqueeze(1)

    def start_epoch(self, task: int, epoch: int) -> None:
        self._numbers.start_epoch(task, epoch)

    def after_update(self, params: Params, hidden: list[Tensor]) -> None:
        due = [self.test(i, params, activation) for i, activation in enumerate(hidden)]
        for i, (units_SR, replaced_SR) in enumerate(due):
            self.replace(i, params, units_SR, replaced_SR)

    def draw(self) -> None:
        """Draw this step's uniform numbers in [0, 1), each seed from its own stream."""
        self._numbers.draw()

    def drawn_incoming(self, index: int) -> Tensor:
        """This step's candidate incoming weights of layer `index`, U(-b, b) with b = 1 / sqrt(fan_in), (S, R, I)."""
        sizes = [r * layer.fan_in for r, layer in zip(self.max_replaced, self.hidden_layers, strict=True)]
        drawn = self._uniform_SN[:, sum(sizes[:index]) : sum(sizes[: index + 1])]
        bound = 1 / sqrt(self.hidden_layers[index].fan_in)
        return drawn.unflatten(1, (self.max_replaced[index], -1)) * (2 * bound) - bound

    def state(self) -> dict[str, Tensor]:
        return {
            f"{layer.name}.{name}": tensor
            for layer, kept in zip(self.hidden_layers, self.layer_states, strict=True)
            for name, tensor in vars(kept).items()
        }

    def _new_state(self, num_units: int) -> LayerState:
        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(len(self.seeds), *shape, dtype=dtype, device=self.device)

        return LayerState(zeros(num_units), zeros(num_units), zeros(num_units), zeros(dtype=torch.float64))

    def test(self, index: int, params: Params, activation: Tensor) -> tuple[Tensor, Tensor]:
        """Update age and utility of a layer; return the units of lowest utility and which of them fall due."""
        kept, decay = self.layer_states[index], self.spec.decay_rate
        kept.age_SF.add_(1)
        correction_SF = 1 - decay**kept.age_SF
        kept.mean_activation_SF.lerp_(_over_batch_and_space(activation), 1 - decay)
        if self.spec.util_type == "random":
            return self._fall_due(index, self._random_utility(index))
        kept.utility_SF.lerp_(self._utility(index, params, activation, correction_SF), 1 - decay)
        return self._fall_due(index, kept.utility_SF / correction_SF)

    def _fall_due(self, index: int, corrected_utility_SF: Tensor) -> tuple[Tensor, Tensor]:
        """Accrue the layer's budget and spend it: (units (S, R) by rising utility, mask (S, R))."""
        kept, max_replaced = self.layer_states[index], self.max_replaced[index]
        eligible_SF = kept.age_SF > self.spec.maturity_threshold
        num_eligible_S = eligible_SF.sum(1).double()
        all_or_none_S = (num_eligible_S > 0) * float(eligible_SF.shape[1])
        accrue_on_S = num_eligible_S if self.spec.accrual == "eligible" else all_or_none_S.double()
        kept.budget_S.add_(accrue_on_S * self.spec.replacement_rate)
        num_replaced_S = torch.minimum(kept.budget_S.floor(), num_eligible_S).clamp(max=max_replaced)
        kept.budget_S.sub_(num_replaced_S)
        units_SR = least_useful(corrected_utility_SF, eligible_SF, num_replaced_S, max_replaced)
        due_SR = torch.arange(max_replaced, device=self.device) < num_replaced_S.unsqueeze(1)
        # A diverged seed's utilities are no order: what is not eligible is never replaced.
        return units_SR, due_SR & eligible_SF.gather(1, units_SR)

    def _random_utility(self, index: int) -> Tensor:
        """This step's uniform utilities of layer `index`, (S, F): drawn behind the candidate weights."""
        widths = [layer.outputs for layer in self.hidden_layers]
        return self._uniform_SN[:, -sum(widths) :].split(widths, dim=1)[index]

    def _utility(self, index: int, params: Params, activation: Tensor, correction_SF: Tensor) -> Tensor:
        """The instantaneous utility of every unit of a layer, (S, F)."""
        util_type, kept, next_layer = self.spec.util_type, self.layer_states[index], self.next_layers[index]
        outgoing_SFP = _outgoing(params, next_layer).abs().mean((1, 4))
        if util_type == "weight":
            return outgoing_SFP.mean(2)
        incoming_SF = params[f"{self.hidden_layers[index].name}.weight"].abs().flatten(2).mean(2)
        if util_type == "adaptation":
            return 1 / incoming_SF
        if util_type != "contribution":
            mean_SF = kept.mean_activation_SF / correction_SF
            activation = (activation - mean_SF.view(len(mean_SF), 1, -1, *[1] * (activation.dim() - 3))).abs()
        if util_type == "feature_by_input":
            return _over_batch_and_space(activation) / incoming_SF
        utility_SF = (outgoing_SFP * _columns(activation, next_layer.positions)).mean(2)
        return utility_SF / incoming_SF if util_type == "adaptable_contribution" else utility_SF

    def replace(self, index: int, params: Params, units_SR: Tensor, replaced_SR: Tensor) -> None:
        """Give the masked units new incoming weights, zero bias, zero outgoing weights and a fresh start."""
        layer, next_layer = self.hidden_layers[index], self.next_layers[index]
        weight, bias = params[f"{layer.name}.weight"], params[f"{layer.name}.bias"]
        rows, replaced_SF = self._rows_S1, torch.zeros_like(bias, dtype=torch.bool)
        replaced_SF.scatter_(1, units_SR, replaced_SR)

        old = weight[rows, units_SR]
        mask = replaced_SR.view(*replaced_SR.shape, *[1] * (old.dim() - 2))
        weight[rows, units_SR] = torch.where(mask, self.drawn_incoming(index).view(old.shape), old)
        bias.masked_fill_(replaced_SF, 0)
        _outgoing(params, next_layer).masked_fill_(replaced_SF[:, None, :, None, None], 0)
        kept = self.layer_states[index]
        for tensor in (kept.age_SF, kept.utility_SF, kept.mean_activation_SF):
            tensor.masked_fill_(replaced_SF, 0)

        self.optimizer.forget(f"{layer.name}.weight", replaced_SF.view(*replaced_SF.shape, *[1] * (weight.dim() - 2)))
        self.optimizer.forget(f"{layer.name}.bias", replaced_SF)
        columns_SI = replaced_SF.repeat_interleave(next_layer.positions, dim=1)
        next_weight = params[f"{next_layer.name}.weight"]
        self.optimizer.forget(
            f"{next_layer.name}.weight", columns_SI.view(len(columns_SI), 1, -1, *[1] * (next_weight.dim() - 3))
        )


def _outgoing(params: Params, next_layer: Layer) -> Tensor:
    """A view of the next layer's weight as (S, O, F, P, K*K)."""
    weight = params[f"{next_layer.name}.weight"]
    if next_layer.kernel:
        return weight.flatten(3).unsqueeze(3)
    return weight.unflatten(2, (next_layer.inputs, next_layer.positions)).unsqueeze(4)


def _columns(activation: Tensor, positions: int) -> Tensor:
    """Mean activation over the batch of each column of the next layer, (S, F, P)."""
    if positions > 1:
        return activation.mean(1).flatten(2)
    return _over_batch_and_space(activation).unsqueeze(2)


def _over_batch_and_space(activation: Tensor) -> Tensor:
    """Mean over the batch, and over space for a convolution: (S, F)."""
    return activation.mean((1, *range(3, activation.dim())))


def build(spec: Spec, net: Net, params: Params, optimizer: Optimizer, seeds: Sequence[int]) -> GenerateAndTest:
    assert isinstance(net, ConvNet)
    return GenerateAndTest(spec, net, params, optimizer, seeds)
