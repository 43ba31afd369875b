"""Continual backprop (Dohare et al., Nature 2024, Algorithm 1): backprop with generate-and-test.

After every optimiser step each hidden layer's units age, their utilities are updated, and the few mature
units of lowest utility are replaced by new ones whose outgoing weights are zero.

Dimensions: S seeds, F units of the layer, O units of the next, C outputs of a unit (2 with CReLU, else 1), P columns
of the next layer's weight that an output feeds (4 for the last convolution, else 1), R units that may be replaced in
one step, I incoming weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lop_engine.experiment import methods_of_units as described
from lop_engine.methods import units
from lop_engine.methods.method import Batch, Forward, Method, Setup
from lop_engine.methods.optimizers import SGD, Grads
from lop_engine.methods.replacement import Draws, least_useful
from lop_engine.methods.runs import like
from lop_engine.methods.step_numbers import StepNumbers
from lop_engine.networks import Hidden, Layer, Params


@dataclass(frozen=True)
class LayerState:
    """State of one hidden layer, for every seed."""

    age_SF: Tensor
    """Steps since the unit was created."""
    utility_SF: Tensor
    mean_activation_SF: Tensor
    """Running mean of the activation of each of the unit's outputs, without bias correction."""
    budget_S: Tensor
    """Number of units that may be replaced, with fractions; in double precision, like the reference's numbers."""


class GenerateAndTest(Method):
    """Replaces units by utility, `replacement_rate` of a layer's units a step, no unit before its maturity.

    Shapes are static: at most R = floor(1 + rate * F) units a layer can fall due in one step, so R of the highest rate
    are looked at, and a mask says which of them are replaced.
    """

    fields: type[described.Replacement] = described.ContinualBackprop

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own: described.ContinualBackprop | described.LayeredContinualBackprop = setup.own(self.fields)  # type: ignore[assignment]
        self.network, self.device = setup.network, setup.device
        self.hidden_layers, self.next_layers = self.network.layers[:-1], self.network.layers[1:]
        self.layer_states = [
            self._new_state(layer.outputs, layer.outputs * next_layer.copies)
            for layer, next_layer in zip(self.hidden_layers, self.next_layers, strict=True)
        ]
        rates = [one.replacement_rate for one in setup.runs.each(self.fields)]
        self.draws = Draws(setup, rates, self._draws_utility, self.own.accrual == "bernoulli")
        self.max_replaced = self.draws.max_replaced
        # The reference resets Adam's state of a replaced unit, and keeps SGD's momentum.
        self._forgets = not isinstance(setup.optimizer, SGD)

    @property
    def _draws_utility(self) -> bool:
        return self.own.util_type == "random"

    def start_epoch(self, task: int, epoch: int) -> None:
        self.draws.start_epoch(task, epoch)

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        due = [self.test(i, params, layer.activation) for i, layer in enumerate(hidden)]
        for i, (units_SR, replaced_SR) in enumerate(due):
            self.replace(i, params, units_SR, replaced_SR)

    @property
    def step_numbers(self) -> list[StepNumbers]:
        """Return the random numbers of the method, for runs that draw the same number of them."""
        return self.draws.groups

    def draw(self) -> None:
        """Draw this step's uniform numbers in [0, 1), for each run from its stream."""
        self.draws.draw()

    def drawn_incoming(self, index: int) -> Tensor:
        """Return this step's candidate incoming weights of layer `index`, U(-b, b) as initially, (S, R, I)."""
        bound = self.network.weight_bounds[self.hidden_layers[index].name]
        return self.draws.candidates(index) * (2 * bound) - bound

    def state(self) -> dict[str, Tensor]:
        return {
            f"{layer.name}.{name}": tensor
            for layer, layer_state in zip(self.hidden_layers, self.layer_states, strict=True)
            for name, tensor in vars(layer_state).items()
        }

    def _new_state(self, num_units: int, num_outputs: int) -> LayerState:
        def zeros(*shape: int, dtype: torch.dtype = self.setup.dtype) -> Tensor:
            return torch.zeros(len(self.setup.seeds), *shape, dtype=dtype, device=self.device)

        return LayerState(zeros(num_units), zeros(num_units), zeros(num_outputs), zeros(dtype=torch.float64))

    def test(self, index: int, params: Params, activation: Tensor) -> tuple[Tensor, Tensor]:
        """Update age and utility of a layer; return the units of lowest utility and which of them are due."""
        layer_state, decay = self.layer_states[index], self.own.decay_rate
        layer_state.age_SF.add_(1)
        correction_SF = 1 - like(decay, layer_state.age_SF) ** layer_state.age_SF
        mean_SF = _over_batch_and_space(activation)
        layer_state.mean_activation_SF.lerp_(mean_SF, like(1 - decay, layer_state.mean_activation_SF))
        if self._draws_utility:
            return self._fall_due(index, self.draws.utility(index))
        utility_SF = self._utility(index, params, activation, mean_SF, correction_SF)
        layer_state.utility_SF.lerp_(utility_SF, like(1 - decay, utility_SF))
        return self._fall_due(index, layer_state.utility_SF / correction_SF)

    def _fall_due(self, index: int, corrected_utility_SF: Tensor) -> tuple[Tensor, Tensor]:
        """Add to the layer's budget and spend it: (units (S, R) by rising utility, mask (S, R))."""
        layer_state, max_replaced = self.layer_states[index], self.max_replaced[index]
        eligible_SF = layer_state.age_SF > like(self.own.maturity_threshold, layer_state.age_SF)
        num_eligible_S = eligible_SF.sum(1).double()
        if self.own.accrual == "bernoulli":
            expected_S = num_eligible_S * self.own.replacement_rate
            drawn_S = (self.draws.chance(index) <= expected_S) & (num_eligible_S > 0)
            num_replaced_S = torch.where(expected_S < 1, drawn_S.double(), expected_S.floor())
        else:
            num_replaced_S = self._accrued(layer_state.budget_S, num_eligible_S, eligible_SF.shape[1])
        num_replaced_S = num_replaced_S.clamp(max=self.draws.limits[index])
        if self.own.accrual != "bernoulli":
            layer_state.budget_S.sub_(num_replaced_S)
        units_SR = least_useful(corrected_utility_SF, eligible_SF, num_replaced_S, max_replaced)
        due_SR = torch.arange(max_replaced, device=self.device) < num_replaced_S.unsqueeze(1)
        # A diverged seed's utilities have no order, but units that are not eligible are never replaced.
        return units_SR, due_SR & eligible_SF.gather(1, units_SR)

    def _accrued(self, budget_S: Tensor, num_eligible_S: Tensor, num_units: int) -> Tensor:
        """Add a step's budget; return how many units it allows to replace, (S,)."""
        all_or_none_S = (num_eligible_S > 0) * float(num_units)
        accrue_on_S = num_eligible_S if self.own.accrual == "eligible" else all_or_none_S.double()
        budget_S.add_(accrue_on_S * self.own.replacement_rate)
        return torch.minimum(budget_S.floor(), num_eligible_S)

    def _utility(
        self, index: int, params: Params, activation: Tensor, mean_SF: Tensor, correction_SF: Tensor
    ) -> Tensor:
        """Return the instantaneous utility of every unit of a layer, (S, F).

        Args:
            mean_SF: mean activation over batch and space.
        """
        util_type, layer_state, next_layer = self.own.util_type, self.layer_states[index], self.next_layers[index]
        outgoing_SFCP = units.outgoing(params, next_layer).abs().mean((1, 5))
        if util_type == "weight":
            return outgoing_SFCP.mean((2, 3))
        if util_type == "adaptation":
            return 1 / self._incoming(index, params)
        if util_type != "contribution":
            running_SF = layer_state.mean_activation_SF / correction_SF.repeat(1, next_layer.copies)
            activation = (activation - running_SF.view(len(running_SF), 1, -1, *[1] * (activation.dim() - 3))).abs()
            mean_SF = _over_batch_and_space(activation)
        elif not self.network.is_non_negative:
            activation = activation.abs()
            mean_SF = _over_batch_and_space(activation)
        if util_type == "feature_by_input":
            return mean_SF.unflatten(1, (next_layer.copies, -1)).mean(1) / self._incoming(index, params)
        utility_SF = (outgoing_SFCP * _columns(activation, mean_SF, next_layer)).mean((2, 3))
        return utility_SF / self._incoming(index, params) if util_type == "adaptable_contribution" else utility_SF

    def _incoming(self, index: int, params: Params) -> Tensor:
        """Return the mean size of each unit's incoming weights, (S, F)."""
        return params[f"{self.hidden_layers[index].name}.weight"].abs().flatten(2).mean(2)

    def replace(self, index: int, params: Params, units_SR: Tensor, replaced_SR: Tensor) -> None:
        """Give the masked units new incoming weights, zero bias and zero outgoing weights, and reset their state."""
        layer_state = self.layer_states[index]
        replaced_SF = torch.zeros_like(layer_state.age_SF, dtype=torch.bool).scatter_(1, units_SR, replaced_SR)
        new = units.NewUnits(replaced_SF, self.drawn_incoming(index), units_SR)
        units.reinitialise(params, self.network, {index: new})
        for tensor in (layer_state.age_SF, layer_state.utility_SF):
            tensor.masked_fill_(replaced_SF, 0)
        layer_state.mean_activation_SF.masked_fill_(replaced_SF.repeat(1, self.next_layers[index].copies), 0)
        if self._forgets and self.setup.optimizer:
            units.forget(self.setup.optimizer, self.network, index, replaced_SF)


def _columns(activation: Tensor, mean_SF: Tensor, next_layer: Layer) -> Tensor:
    """Return the mean activation over the batch of each column of the next layer, (S, F, C, P)."""
    columns = activation.mean(1).flatten(2) if next_layer.positions > 1 else mean_SF.unsqueeze(2)
    return columns.unflatten(1, (next_layer.copies, -1)).transpose(1, 2)


def _over_batch_and_space(activation: Tensor) -> Tensor:
    """Return the mean over the batch, and over space for a convolution: (S, F)."""
    return activation.mean((1, *range(3, activation.dim())))
