"""ReDo (Sokar et al., ICML 2023): every `redo_period` steps, start dormant hidden units over.

A unit's score is its mean |activation| over the batch, divided by its layer's mean score. Units whose score is at most
`redo_tau` get new incoming weights, zero bias and zero outgoing weights, after the optimiser's step. A weight from one
new unit to another becomes zero, as in Dopamine.

Dimensions: S seeds, F units of a layer.
"""

from torch import Tensor

from lop_engine.experiment import methods as described
from lop_engine.methods import units
from lop_engine.methods.method import Batch, Forward, Method, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import like
from lop_engine.networks import Hidden, Params

EPSILON = 1e-9
"""Added to a layer's mean score."""


class ReDo(Method):
    """Recycles dormant units. It keeps no state: scores are those of one batch."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own, self.network = setup.own(described.ReDo), setup.network
        self.looks_before_pooling = self.own.redo_activations == "relu" and self.own.redo_scores == "train"
        self._sizes = [layer.outputs * layer.fan_in for layer in self.network.hidden_layers]
        self._numbers = setup.step_numbers(sum(self._sizes), Tensor.uniform_, every=self.own.redo_period)

    def start_epoch(self, task: int, epoch: int) -> None:
        self._numbers.start_epoch(task, epoch)

    @property
    def variant(self) -> bool:
        """Whether the coming step recycles units."""
        return (self.step + 1) % self.own.redo_period == 0

    def draw(self) -> None:
        if self.variant:
            self._numbers.draw()

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        if not self.variant:
            return
        if self.own.redo_scores == "fresh":
            hidden = forward(batch.inputs).hidden
        masks = [self.dormant(index, layer) for index, layer in enumerate(hidden)]
        new = {index: units.NewUnits(mask_SF, self.drawn_incoming(index)) for index, mask_SF in enumerate(masks)}
        units.reinitialise(params, self.network, new, winner="outgoing")
        if self.own.redo_optimizer_state == "reset" and self.setup.optimizer:
            for index, mask_SF in enumerate(masks):
                units.forget(self.setup.optimizer, self.network, index, mask_SF, bias=False, counts=False)

    def dormant(self, index: int, layer: Hidden) -> Tensor:
        """Which units of hidden layer `index` are dormant, (S, F)."""
        activation = layer.before_pooling if self.own.redo_activations == "relu" else layer.activation
        size = self.network.by_unit(index, activation)
        mean_SF = size.mean((1, *range(3, size.dim())))
        return mean_SF / (mean_SF.mean(1, keepdim=True) + EPSILON) <= like(self.own.redo_tau, mean_SF)

    def drawn_incoming(self, index: int) -> Tensor:
        """New incoming weights of every unit of hidden layer `index`, U(-b, b) as initially, (S, F, ...)."""
        layer, start = self.network.hidden_layers[index], sum(self._sizes[:index])
        drawn = self._numbers.of_step_SN[:, start : start + self._sizes[index]]
        bound = self.network.weight_bounds[layer.name]
        return drawn.unflatten(1, layer.weight_shape) * (2 * bound) - bound
