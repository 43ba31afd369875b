"""ReGraMa (Liu et al., NeurIPS 2025): every `regrama_period` steps, start hidden units over that learn little.

A unit's score is the mean |gradient| of its incoming weights in the step, divided by its layer's mean score. Units
whose score is at most `regrama_threshold` get new incoming weights, zero bias and zero outgoing weights after the
optimiser's step, layer by layer: a new unit's incoming weights stay whole. The optimiser's moments of incoming weights,
bias and outgoing weights become 0; Adam's step counts stay.

Dimensions: S runs, F units of a layer.
"""

from torch import Tensor

from lop_engine.experiment import methods_of_units as described
from lop_engine.methods import units
from lop_engine.methods.method import Batch, Forward, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import like
from lop_engine.methods.units import UnitResets
from lop_engine.networks import Hidden, Params

EPSILON = 1e-8
"""Added to a layer's mean score."""


class ReGraMa(UnitResets):
    """Resets units by their gradients. Stateless: scores are those of one batch."""

    def __init__(self, setup: Setup) -> None:
        self.own = setup.own(described.ReGraMaKeys)
        super().__init__(setup, self.own.regrama_period)

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        if not self.variant:
            return
        masks = [self.inactive(index, grads) for index in range(len(hidden))]
        new = {index: units.NewUnits(mask_SF, self.drawn_incoming(index)) for index, mask_SF in enumerate(masks)}
        units.reinitialise(params, self.network, new)
        if self.own.regrama_optimizer_state == "reset" and self.setup.optimizer:
            for index, mask_SF in enumerate(masks):
                units.forget(self.setup.optimizer, self.network, index, mask_SF, counts=False)

    def inactive(self, index: int, grads: Grads) -> Tensor:
        """Return which units of hidden layer `index` learn little, (S, F)."""
        mean_SF = grads[f"{self.network.hidden_layers[index].name}.weight"].abs().flatten(2).mean(2)
        return mean_SF / (mean_SF.mean(1, keepdim=True) + EPSILON) <= like(self.own.regrama_threshold, mean_SF)
