"""ReDo (Sokar et al., ICML 2023): every `redo_period` steps, start dormant hidden units over.

A unit's score is its mean |activation| over the batch, divided by its layer's mean score. Units whose score is at most
`redo_threshold` get new incoming weights, zero bias and zero outgoing weights, after the optimiser's step. A weight
from one new unit to another becomes zero, as in Dopamine. `redo_kumar` is another variant.

Dimensions: S seeds, F units of a layer.
"""

from torch import Tensor

from lop_engine.experiment import methods_of_units as described
from lop_engine.methods import units
from lop_engine.methods.method import Batch, Forward, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import like
from lop_engine.methods.units import UnitResets
from lop_engine.networks import Hidden, Network, Params

EPSILON = 1e-9
"""Added to a layer's mean score."""


class ReDo(UnitResets):
    """Recycles dormant units. Stateless: scores are those of one batch."""

    def __init__(self, setup: Setup) -> None:
        self.own = setup.own(described.ReDoKeys)
        super().__init__(setup, self.own.redo_period)
        self.looks_before_pooling = self.own.redo_activations == "relu" and self.own.redo_scores == "train"

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
        """Return which units of hidden layer `index` are dormant, (S, F)."""
        activation = layer.before_pooling if self.own.redo_activations == "relu" else layer.activation
        mean_SF = mean_activation(self.network, index, activation)
        return mean_SF / (mean_SF.mean(1, keepdim=True) + EPSILON) <= like(self.own.redo_threshold, mean_SF)


def mean_activation(network: Network, index: int, activation: Tensor) -> Tensor:
    """Return the mean |activation| of the units of hidden layer `index`, over batch and positions, (S, F)."""
    size = network.by_unit(index, activation)
    return size.mean((1, *range(3, size.dim())))
