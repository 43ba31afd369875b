"""Shrink and perturb in every step, as in Kumar et al. (2025): the perturbation is a fresh network.

After every optimiser step w = (1 - snp_kumar_shrink) w + snp_kumar_perturb w0 for all weights and biases, where w0 is
drawn anew from the initial distribution. In the reference's variant (`snp`) weight decay shrinks, inside the
optimiser's step, and Gaussian noise perturbs.

Dimensions: S runs, N numbers a step.
"""

from torch import Tensor

from lop_engine.experiment import methods_of_weights as described
from lop_engine.methods.method import Batch, Forward, Method, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import add_, like
from lop_engine.methods.step_numbers import like_weights
from lop_engine.networks import Hidden, Params


class FreshWeights:
    """Draws every layer's weight and bias from U(-b, b), with the network's bounds b.

    What starts from constants, such as the scale and shift of layer normalisation, has its initial values.

    Args:
        params: the initial weights.
    """

    def __init__(self, setup: Setup, params: Params) -> None:
        network = setup.network
        bounds = {"weight": network.weight_bounds, "bias": network.bias_bounds}
        self._bounds = {
            f"{layer.name}.{kind}": bounds[kind][layer.name] for layer in network.layers for kind in ("weight", "bias")
        }
        self._drawn = {name: params[name].detach() for name in self._bounds}
        self._constant = {name: weight.detach().clone() for name, weight in params.items() if name not in self._bounds}
        self.numbers = setup.step_numbers(sum(weight[0].numel() for weight in self._drawn.values()), Tensor.uniform_)
        self.numbers_SN = self.numbers.of_step_SN
        self.start_epoch, self.draw = self.numbers.start_epoch, self.numbers.draw

    def of_step(self) -> Params:
        """Return the fresh weights of this step, by name."""
        numbers = like_weights(self.numbers_SN, self._drawn)
        drawn = {name: part * (2 * self._bounds[name]) - self._bounds[name] for name, part in numbers.items()}
        return drawn | self._constant


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
