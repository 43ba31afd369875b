"""Shrink and perturb in every step, as in Kumar et al. (2025): the perturbation is a fresh network.

After every optimiser step w = (1 - snp_kumar_shrink) w + snp_kumar_perturb w0 for all weights and biases, where w0 is
drawn anew from the initial distribution. In the reference's variant (`snp`) weight decay shrinks, inside the
optimiser's step, and Gaussian noise perturbs.
"""

from lop_engine.experiment import methods_in_steps as described
from lop_engine.methods.fresh_weights import FreshWeights
from lop_engine.methods.method import Batch, Forward, Method, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import add_, like
from lop_engine.networks import Hidden, Params


class ShrinkAndPerturbEveryStep(Method):
    """Shrinks and perturbs after the update."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.SnpKumar)

    def init(self, params: Params) -> None:
        self.fresh = FreshWeights(self.setup, params)

    def start_epoch(self, task: int, epoch: int) -> None:
        self.fresh.start_epoch(task, epoch)

    def draw(self) -> None:
        self.fresh.draw()

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        for name, fresh in self.fresh.of_step().items():
            weight = params[name]
            weight.mul_(like(1 - self.own.snp_kumar_shrink, weight))
            add_(weight, fresh, self.own.snp_kumar_perturb)
