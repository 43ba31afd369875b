"""Shrink and perturb (Ash & Adams 2020): weight decay shrinks, Gaussian noise perturbs.

After every optimiser step N(0, perturb_scale^2) is added to every weight and bias, the head included.
"""

from torch import Tensor

from lop_engine.experiment import methods as described
from lop_engine.methods.method import Batch, Forward, Method, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import add_
from lop_engine.methods.step_numbers import StepNumbers, like_weights
from lop_engine.networks import Hidden, Params
from lop_engine.streams import Stream


class Perturbation(Method):
    """Noise of standard deviation `perturb_scale`, from a separate stream for each seed."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.scale = setup.own(described.Perturbation).perturb_scale

    def init(self, params: Params) -> None:
        count = sum(weight[0].numel() for weight in params.values())
        setup = self.setup
        self.numbers = StepNumbers(setup.spec, setup.seeds, Stream.PERTURBATION, count, Tensor.normal_, setup.device)
        self.noise_SN = self.numbers.of_step_SN

    def start_epoch(self, task: int, epoch: int) -> None:
        self.numbers.start_epoch(task, epoch)

    @property
    def step_numbers(self) -> list[StepNumbers]:
        """Return the numbers that the method draws."""
        return [self.numbers]

    def draw(self) -> None:
        self.numbers.draw()

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        for name, noise in like_weights(self.noise_SN, params).items():
            add_(params[name], noise, self.scale)
