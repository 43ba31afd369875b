"""Hare & Tortoise (Lee et al., ICML 2024): a slow copy of the network is measured, and the weights go back to it.

After every optimiser step each weight of the slow copy (the tortoise) moves towards that of the network that trains
(the hare). Every `hare_tortoise_period` steps the hare's weights become the tortoise's. The optimiser keeps its state.
Outputs that the problem sets to zero at the start of a task become zero in both.
"""

from torch import Tensor

from lop_engine.experiment import methods_of_weights as described
from lop_engine.methods.boundaries import clear_new_outputs
from lop_engine.methods.method import Batch, Forward, Method, Setup, TaskData
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import like
from lop_engine.networks import Hidden, Params


class HareAndTortoise(Method):
    """Keeps the slow weights, also in the checkpoint."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.HareAndTortoise)

    def init(self, params: Params) -> None:
        self.slow = {name: weight.detach().clone() for name, weight in params.items()}

    def start_task(self, task: TaskData) -> None:
        clear_new_outputs(self.slow, self.setup.network, task)

    @property
    def variant(self) -> bool:
        """Return whether the hare is reset to the tortoise after the coming step."""
        return (self.step + 1) % self.own.hare_tortoise_period == 0

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        for name, weight in params.items():
            self.slow[name].lerp_(weight, like(1 - self.own.hare_tortoise_decay, weight))
            if self.variant:
                weight.copy_(self.slow[name])

    def evaluated(self, params: Params) -> Params:
        return self.slow

    def state(self) -> dict[str, Tensor]:
        return {f"slow.{name}": weight for name, weight in self.slow.items()}
