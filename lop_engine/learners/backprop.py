"""Backprop, L2 regularisation and the linear baseline: what differs between them is the optimiser and the network."""

from collections.abc import Sequence

from lop_engine.learners.learner import Mechanism
from lop_engine.nets import Net, Params
from lop_engine.optimizers import Optimizer
from lop_engine.spec import Spec


def build(spec: Spec, net: Net, params: Params, optimizer: Optimizer, seeds: Sequence[int]) -> Mechanism:
    """Nothing to add: L2 regularisation is the optimiser's weight decay (added to the gradient, as in torch's SGD)."""
    return Mechanism()
