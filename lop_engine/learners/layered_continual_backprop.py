"""CBP as layers (cbp2): the reference's variant that replaces units in the backward pass.

It differs from continual backprop in three ways. A unit's utility is the batch's own, mean |outgoing weight| x mean
|activation|, with no running mean. The budget accrues on the eligible units only. And units are replaced between the
backward pass and the optimiser's step, from the last layer to the first: a layer is judged by outgoing weights in which
the replacements above it show already.
"""

from collections.abc import Sequence

from torch import Tensor

from lop_engine.learners.continual_backprop import GenerateAndTest
from lop_engine.nets import ConvNet, Net, Params
from lop_engine.optimizers import Optimizer
from lop_engine.spec import Spec


class LayeredGenerateAndTest(GenerateAndTest):
    """Generate-and-test in the order of the backward pass, before the update."""

    def before_update(self, params: Params, hidden: list[Tensor]) -> None:
        for index in reversed(range(len(hidden))):
            self.replace(index, params, *self.test(index, params, hidden[index]))

    def after_update(self, params: Params, hidden: list[Tensor]) -> None:
        pass


def build(spec: Spec, net: Net, params: Params, optimizer: Optimizer, seeds: Sequence[int]) -> LayeredGenerateAndTest:
    assert isinstance(net, ConvNet)
    own = {"decay_rate": 0.0, "util_type": "contribution"}
    return LayeredGenerateAndTest(spec.model_copy(update=own), net, params, optimizer, seeds)
