"""Shrink and perturb at task boundaries (Ash & Adams 2020): weights move towards those of a fresh network.

At the start of every task but the first

    w = (1 - snp_task_shrink) w + snp_task_perturb w0

for all weights and biases. w0 are the weights of a network drawn anew, as in the paper, or those that the run started
from, as in FIRE's code. Without `snp_task_perturb` it is `snp_task_shrink`, so that w0 replaces what shrinks.
"""

from lop_engine.experiment import methods_at_boundaries as described
from lop_engine.methods.boundaries import AtBoundary
from lop_engine.methods.method import Setup, TaskData
from lop_engine.methods.runs import add_, like


class ShrinkAndPerturbAtBoundary(AtBoundary):
    """Shrinks and perturbs; by default the optimiser is reset, as for a new network."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.SnpTask)
        self.renews_optimizer = self.own.snp_task_optimizer_state == "reset"

    def change(self, task: TaskData) -> None:
        shrink, perturb = self.own.snp_task_shrink, self.own.snp_task_perturb
        others = self.new_weights(self.own.snp_task_weights, task)
        for name, weight in self.params.items():
            weight.mul_(like(1 - shrink, weight))
            add_(weight, others[name], shrink if perturb is None else perturb)
