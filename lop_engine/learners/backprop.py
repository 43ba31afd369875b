"""Backprop, L2 regularisation and the linear baseline: what differs between them is the optimiser and the network."""

from collections.abc import Sequence

from torch import Tensor

from lop_engine.nets import Net, Params
from lop_engine.optimizers import Optimizer
from lop_engine.spec import Spec


class Backprop:
    """Adds nothing. L2 regularisation is the optimiser's weight decay (added to the gradient, as in torch's SGD)."""

    def start_epoch(self, task: int, epoch: int) -> None:
        pass

    def before_update(self, params: Params, hidden: list[Tensor]) -> None:
        pass

    def after_update(self, params: Params, hidden: list[Tensor]) -> None:
        pass

    def state(self) -> dict[str, Tensor]:
        return {}


def build(spec: Spec, net: Net, params: Params, optimizer: Optimizer, seeds: Sequence[int]) -> Backprop:
    return Backprop()
