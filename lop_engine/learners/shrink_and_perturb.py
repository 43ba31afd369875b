"""Shrink and perturb (Ash & Adams 2020): weight decay shrinks, Gaussian noise perturbs.

After every optimiser step N(0, perturb_scale^2) is added to every weight and bias, the head included.
"""

from collections.abc import Sequence

from torch import Tensor

from lop_engine.learners.learner import Mechanism
from lop_engine.learners.step_numbers import StepNumbers
from lop_engine.nets import Net, Params
from lop_engine.optimizers import Optimizer
from lop_engine.spec import Spec
from lop_engine.streams import Stream


class Perturbation(Mechanism):
    """Noise of standard deviation `spec.perturb_scale`, from a separate stream for each seed."""

    def __init__(self, spec: Spec, params: Params, seeds: Sequence[int]) -> None:
        self.scale = spec.perturb_scale
        count, device = sum(w[0].numel() for w in params.values()), next(iter(params.values())).device
        self._numbers = StepNumbers(spec, seeds, Stream.PERTURBATION, count, Tensor.normal_, device)
        self._noise_SN = self._numbers.of_step_SN

    def start_epoch(self, task: int, epoch: int) -> None:
        self._numbers.start_epoch(task, epoch)

    def draw(self) -> None:
        self._numbers.draw()

    def after_update(self, params: Params, hidden: list[Tensor]) -> None:
        start = 0
        for weight in params.values():
            size = weight[0].numel()
            weight.add_(self._noise_SN[:, start : start + size].view(weight.shape), alpha=self.scale)
            start += size


def build(spec: Spec, net: Net, params: Params, optimizer: Optimizer, seeds: Sequence[int]) -> Perturbation:
    return Perturbation(spec, params, seeds)
