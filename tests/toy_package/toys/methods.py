"""Backprop that shrinks the weights."""

from lop_engine.methods.method import Batch, Forward, Method
from lop_engine.methods.optimizers import Grads
from lop_engine.networks import Params
from lop_engine.networks.layers import Hidden


class ToyDecay(Method):
    """Shrink every weight by `toy_rate` after a step."""

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        for weight in params.values():
            weight.mul_(1 - self.setup.spec.toy_rate)
