"""CBP as layers (cbp2): the reference's variant that replaces units in the backward pass.

It differs from continual backprop in three ways. A unit's utility is the batch's own, mean |outgoing weight| x mean
|activation|, with no running mean. The budget accrues on the eligible units only. And units are replaced between the
backward pass and the optimiser's step, from the last layer to the first: a layer is judged by outgoing weights in which
the replacements above it show already.
"""

from lop_engine.experiment import methods_of_units as described
from lop_engine.methods.continual_backprop import GenerateAndTest
from lop_engine.methods.method import Batch, Forward
from lop_engine.methods.optimizers import Grads
from lop_engine.networks import Hidden, Params


class LayeredGenerateAndTest(GenerateAndTest):
    """Generate-and-test in the order of the backward pass, before the update."""

    fields = described.LayeredContinualBackprop

    def update(self, params: Params, grads: Grads, hidden: list[Hidden]) -> None:
        for index in reversed(range(len(hidden))):
            self.replace(index, params, *self.test(index, params, hidden[index].activation))
        super().update(params, grads, hidden)

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        """Do nothing: units are replaced before the update."""
