"""L2 Init (Kumar et al. 2025): a penalty on the distance of the weights from where they started.

With d = w - w0 over all weights and biases, those of the output layer included, the loss gains by `l2_init_penalty`

    l2:      l2_init / 2 x sum d^2
    l1:      l2_init x sum |d|
    huber:   l2_init x sum (d^2 / 2 where |d| < 1, else |d| - 1/2)

w0 are the initial weights; if `l2_init_target` is resampled, new ones are drawn as initially in every step. As in the
authors' code, the scale and shift of layer normalisation are left out, and the optimiser gets the gradient of the sum.

A step with resampled targets draws a number for each weight, which is more than 1.3 times backprop's step where batches
are small.

Dimensions: S runs.
"""

import torch.nn.functional as F
from torch import Tensor

from lop_engine.experiment import methods_of_weights as described
from lop_engine.methods.method import Method, Setup
from lop_engine.methods.runs import like
from lop_engine.methods.step_numbers import like_weights
from lop_engine.networks import Params


class L2Init(Method):
    """Adds the penalty. The initial weights are a function of the seed, so a resumed run has the same ones."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.L2InitKeys)
        network = setup.network
        self._bounds = {
            f"{layer.name}.{kind}": of_kind[layer.name]
            for layer in network.layers
            for kind, of_kind in (("weight", network.weight_bounds), ("bias", network.bias_bounds))
        }
        self._resamples = self.own.l2_init_target == "resampled"

    def init(self, params: Params) -> None:
        self.initial = {name: params[name].detach().clone() for name in self._bounds}
        if self._resamples:
            count = sum(weight[0].numel() for weight in self.initial.values())
            self.numbers = self.setup.step_numbers(count, Tensor.uniform_)

    def start_epoch(self, task: int, epoch: int) -> None:
        if self._resamples:
            self.numbers.start_epoch(task, epoch)

    def draw(self) -> None:
        if self._resamples:
            self.numbers.draw()

    def targets(self) -> Params:
        """Return the weights from which the distance is measured, by name."""
        if not self._resamples:
            return self.initial
        drawn = like_weights(self.numbers.of_step_SN, self.initial)
        return {name: drawn[name] * (2 * bound) - bound for name, bound in self._bounds.items()}

    def penalty(self, params: Params) -> Tensor:
        parts = [self._distance(params[name] - target).flatten(1).sum(1) for name, target in self.targets().items()]
        penalty_S = sum(parts[1:], parts[0])
        strength = self.own.l2_init / 2 if self.own.l2_init_penalty == "l2" else self.own.l2_init
        return penalty_S * like(strength, penalty_S)

    def _distance(self, difference: Tensor) -> Tensor:
        if self.own.l2_init_penalty == "l2":
            return difference.square()
        if self.own.l2_init_penalty == "l1":
            return difference.abs()
        return F.huber_loss(difference, difference.new_zeros(()).expand_as(difference), reduction="none")
