"""Full reset: a new network for every task.

What it learns of a task is what a network learns that is trained on this task alone, the level to which loss of
plasticity is compared. All weights and the optimiser start over at the start of every task but the first.
"""

from lop_engine.experiment import methods_at_boundaries as described
from lop_engine.methods.boundaries import AtBoundary
from lop_engine.methods.method import Setup, TaskData


class FullReset(AtBoundary):
    """Resets all weights and the optimiser. Buffers, which lop's networks do not have, are kept."""

    renews_optimizer = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.FullReset)

    def change(self, task: TaskData) -> None:
        for name, weight in self.new_weights(self.own.full_reset_weights, task).items():
            self.params[name].copy_(weight)
