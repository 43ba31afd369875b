"""Utility-based perturbed gradient descent (Elsayed & Mahmood, ICLR 2024), with the global first-order utility.

A weight's utility is the running mean of -gradient x weight: by how much the loss would rise without the weight. Gated
by it, useful weights change little. With u the corrected mean, m the largest mean of all weights of the seed (not
corrected, as in the authors' code), s = sigmoid(u / m) and noise n ~ N(0, upgd_sigma^2):

    protecting:       w = (1 - step_size x weight_decay) w - step_size (1 - s) (gradient + n)
    not protecting:   w = (1 - step_size x weight_decay) w - step_size (gradient + (1 - s) n)

The authors' README shows the first with twice the step size in the second term: that is step_size x 2 and
weight_decay / 2 here.

Dimensions: S seeds, N weights.
"""

import torch
from torch import Tensor

from lop_engine.experiment import methods_of_weights as described
from lop_engine.experiment.spec import Experiment
from lop_engine.methods.method import Method, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import add_, like
from lop_engine.methods.step_numbers import like_weights
from lop_engine.networks import Hidden, Params


class UPGD(Method):
    """In place of the optimiser's update."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.UPGDKeys)
        of_all = setup.own(Experiment)
        self.step_size, self.weight_decay = of_all.step_size, of_all.weight_decay

    def init(self, params: Params) -> None:
        setup = self.setup
        self.utilities = {name: torch.zeros_like(weight) for name, weight in params.items()}
        self.steps_S = torch.zeros(len(setup.seeds), dtype=torch.float64, device=setup.device)
        self._numbers = setup.step_numbers(sum(weight[0].numel() for weight in params.values()))

    def start_epoch(self, task: int, epoch: int) -> None:
        self._numbers.start_epoch(task, epoch)

    def draw(self) -> None:
        self._numbers.draw()

    def update(self, params: Params, grads: Grads, hidden: list[Hidden]) -> None:
        beta = self.own.upgd_utility_decay
        self.steps_S.add_(1)
        for name, weight in params.items():
            add_(self.utilities[name].mul_(like(beta, weight)), grads[name] * weight, beta - 1)
        scale_S = self._largest_utility() * (1 - beta**self.steps_S).to(self.setup.dtype)
        noises = like_weights(self._numbers.of_step_SN, params)
        for name, weight in params.items():
            scale = scale_S.view(-1, *[1] * (weight.dim() - 1))
            gate = 1 - torch.sigmoid(self.utilities[name] / scale)
            noise = noises[name] * like(self.own.upgd_sigma, noises[name])
            change = (grads[name] + noise) * gate if self.own.upgd_protecting else grads[name] + noise * gate
            weight.mul_(like(1 - self.step_size * self.weight_decay, weight))
            add_(weight, change, -self.step_size)

    def _largest_utility(self) -> Tensor:
        """The largest utility of each seed, (S,).

        Never 0, which it would be while an output layer of zeros keeps all gradients at 0.
        """
        of_weights = [utility.flatten(1).amax(1) for utility in self.utilities.values()]
        largest_S = torch.stack(of_weights).amax(0)
        return largest_S.where(largest_S != 0, torch.finfo(largest_S.dtype).tiny)

    def state(self) -> dict[str, Tensor]:
        return {"steps": self.steps_S, **{f"utility.{name}": tensor for name, tensor in self.utilities.items()}}
