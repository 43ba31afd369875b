"""AdaUPGD (Elsayed & Mahmood, ICLR 2024): UPGD with Adam's normalised gradient, as in the authors' code for agents.

With s of `upgd` (global utility), noise n ~ N(0, upgd_sigma^2), and m and v Adam's corrected running means of gradient
and squared gradient:

    w = (1 - step_size x weight_decay) w - 2 step_size (1 - s) (m / (sqrt(v) + epsilon) + n)

The factor 2 is the authors'. Their other variant of UPGD has it in their README alone, see `upgd`.

A step reads and writes two running means of each weight beside what `upgd` does, so it costs more than 1.3 times
backprop's step where batches are small.

Dimensions: S runs.
"""

import torch
from torch import Tensor

from lop_engine.experiment import methods_of_weights as described
from lop_engine.methods.method import Setup
from lop_engine.methods.runs import add_, like
from lop_engine.methods.upgd import UtilityDescent
from lop_engine.networks import Params


class AdaUPGD(UtilityDescent):
    """Replaces the optimiser's update."""

    fields = described.AdaUPGDKeys

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.AdaUPGDKeys)

    def init(self, params: Params) -> None:
        super().init(params)
        self.first = {name: torch.zeros_like(weight) for name, weight in params.items()}
        self.second = {name: torch.zeros_like(weight) for name, weight in params.items()}

    def change(self, name: str, weight: Tensor, grad: Tensor, gate: Tensor, noise: Tensor) -> None:
        beta_1, beta_2 = self.own.beta_1, self.own.beta_2
        first = add_(self.first[name].mul_(like(beta_1, grad)), grad, 1 - beta_1)
        second = add_(self.second[name].mul_(like(beta_2, grad)), grad * grad, 1 - beta_2)
        mean, square = (one / self._correction(beta, one) for one, beta in ((first, beta_1), (second, beta_2)))
        change = (mean / (square.sqrt() + like(self.own.epsilon, grad)) + noise) * gate
        weight.mul_(like(1 - self.step_size * self.weight_decay, weight))
        add_(weight, change, -2 * self.step_size)

    def _correction(self, beta: float | Tensor, mean: Tensor) -> Tensor:
        correction: Tensor = like(1 - beta**self.steps_S, mean)  # type: ignore[assignment]
        return correction

    def state(self) -> dict[str, Tensor]:
        per_weight = {"first": self.first, "second": self.second}
        moments = {f"{kind}.{name}": tensor for kind, of in per_weight.items() for name, tensor in of.items()}
        return super().state() | moments
