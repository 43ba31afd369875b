"""Utility-based perturbed gradient descent (Elsayed & Mahmood, ICLR 2024), with first-order utilities.

A weight's utility is the running mean of -gradient x weight: by how much the loss would rise without the weight. Gated
by it, useful weights change little. With u the corrected mean, s = sigmoid(u / scale) and noise n ~ N(0, upgd_sigma^2):

    protecting:       w = (1 - step_size x weight_decay) w - step_size (1 - s) (gradient + n)
    not protecting:   w = (1 - step_size x weight_decay) w - step_size (gradient + (1 - s) n)

The scale is the largest mean of all weights of the run (not corrected, as in the authors' code) if `upgd_utility` is
global. If it is local, it is the norm of u along the last axis of the weight: an output's incoming weights in a linear
layer, a row of a convolution's kernel, all of a bias; at least 1e-12. With `upgd_clip_kappa` all weights are then
clipped as `weight_clipping` does, the output layer's too.

The authors' README shows the protecting update with twice the step size in the second term: that is step_size x 2 and
weight_decay / 2 here.

A step draws a normal number for each weight and reads and writes each three times, which is more than 1.3 times
backprop's step where batches are small.

Dimensions: S seeds, N weights.
"""

import torch
from torch import Tensor

from lop_engine.experiment import methods_of_weights as described
from lop_engine.experiment.parts import Experiment
from lop_engine.methods.method import Method, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import add_, is_used, like
from lop_engine.methods.step_numbers import like_weights
from lop_engine.methods.weight_clipping import clip_
from lop_engine.networks import Hidden, Params

LEAST_NORM = 1e-12


class UtilityDescent(Method):
    """Base of the variants: utilities and noise. Subclasses define in `change` how a weight is updated."""

    fields: type[described.UtilityKeys]
    is_local = False
    """Whether the scale is local."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.common, of_all = setup.own(self.fields), setup.own(Experiment)
        self.step_size, self.weight_decay = of_all.step_size, of_all.weight_decay

    def init(self, params: Params) -> None:
        setup = self.setup
        self.utilities = {name: torch.zeros_like(weight) for name, weight in params.items()}
        self.steps_S = torch.zeros(len(setup.seeds), dtype=torch.float64, device=setup.device)
        self.numbers = setup.step_numbers(sum(weight[0].numel() for weight in params.values()))

    def start_epoch(self, task: int, epoch: int) -> None:
        self.numbers.start_epoch(task, epoch)

    def draw(self) -> None:
        self.numbers.draw()

    def update(self, params: Params, grads: Grads, hidden: list[Hidden]) -> None:
        beta = self.common.upgd_utility_decay
        self.steps_S.add_(1)
        for name, weight in params.items():
            add_(self.utilities[name].mul_(like(beta, weight)), grads[name] * weight, beta - 1)
        correction_S = (1 - beta**self.steps_S).to(self.setup.dtype)
        scale_S = correction_S if self.is_local else self._largest_utility() * correction_S
        noises = like_weights(self.numbers.of_step_SN, params)
        for name, weight in params.items():
            scaled = self.utilities[name] / scale_S.view(-1, *[1] * (weight.dim() - 1))
            if self.is_local:
                scaled = torch.nn.functional.normalize(scaled, dim=-1, eps=LEAST_NORM)
            noise = noises[name] * like(self.common.upgd_sigma, noises[name])
            self.change(name, weight, grads[name], 1 - torch.sigmoid(scaled), noise)

    def change(self, name: str, weight: Tensor, grad: Tensor, gate: Tensor, noise: Tensor) -> None:
        """Change a weight in place.

        Args:
            gate: 1 - s.
        """
        raise NotImplementedError

    def _largest_utility(self) -> Tensor:
        """Return the largest utility of each seed, (S,).

        Never 0, which it would be while an output layer of zeros keeps all gradients at 0.
        """
        of_weights = [utility.flatten(1).amax(1) for utility in self.utilities.values()]
        largest_S = torch.stack(of_weights).amax(0)
        return largest_S.where(largest_S != 0, torch.finfo(largest_S.dtype).tiny)

    def state(self) -> dict[str, Tensor]:
        return {"steps": self.steps_S, **{f"utility.{name}": tensor for name, tensor in self.utilities.items()}}


class UPGD(UtilityDescent):
    """Replaces the optimiser's update."""

    fields = described.UPGDKeys

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.UPGDKeys)
        self.is_local = self.own.upgd_utility == "local"

    def update(self, params: Params, grads: Grads, hidden: list[Hidden]) -> None:
        super().update(params, grads, hidden)
        if is_used(self.own.upgd_clip_kappa):
            clip_(params, self.setup.network, self.own.upgd_clip_kappa)

    def change(self, name: str, weight: Tensor, grad: Tensor, gate: Tensor, noise: Tensor) -> None:
        change = (grad + noise) * gate if self.own.upgd_protecting else grad + noise * gate
        weight.mul_(like(1 - self.step_size * self.weight_decay, weight))
        add_(weight, change, -self.step_size)
