"""torch's SGD, Adam and AdamW, over weights with a leading seed axis and without host synchronisation."""

from typing import Protocol

import torch
from torch import Tensor

from lop_engine.code import load
from lop_engine.experiment import optimizers as described
from lop_engine.experiment.spec import Spec
from lop_engine.networks import Params

Grads = dict[str, Tensor]


class Optimizer(Protocol):
    """An update rule with its state. Built from a spec and the weights."""

    def update(self, params: Params, grads: Grads) -> None:
        """Change `params` in place."""

    def moments(self, name: str) -> list[Tensor]:
        """The running means that it keeps of a weight's gradients, of the weight's shape."""

    def counts(self, name: str) -> list[Tensor]:
        """The numbers of steps that it keeps for a weight's entries, of the weight's shape."""

    def state(self) -> dict[str, Tensor]:
        """Every tensor that outlives a step, each with a leading seed axis."""


class SGD:
    """d = g + weight_decay * w;  m = momentum * m + d;  w -= step_size * m  (torch.optim.SGD)."""

    def __init__(self, spec: Spec, params: Params) -> None:
        self.step_size, self.weight_decay = spec.step_size, spec.weight_decay
        self.momentum = spec.own(described.Momentum).momentum
        self._moments = {n: torch.zeros_like(w) for n, w in params.items()} if self.momentum else {}

    @torch.no_grad()
    def update(self, params: Params, grads: Grads) -> None:
        for name, weight in params.items():
            change = grads[name]
            if self.weight_decay:
                change = change.add(weight, alpha=self.weight_decay)
            if self.momentum:
                change = self._moments[name].mul_(self.momentum).add_(change)
            weight.sub_(change, alpha=self.step_size)

    def moments(self, name: str) -> list[Tensor]:
        return [self._moments[name]] if self._moments else []

    def counts(self, name: str) -> list[Tensor]:
        return []

    def state(self) -> dict[str, Tensor]:
        return {f"momentum.{name}": moment for name, moment in self._moments.items()}


class Adam:
    """torch.optim.Adam.

    Every weight counts its own steps, so that CBP can let the new weights of a replaced unit start over. This is
    torch's Adam with resets; the reference's own Adam for CBP leaves out a division by the second correction.
    """

    decoupled = False
    """Whether weight decay is apart from the gradient."""

    def __init__(self, spec: Spec, params: Params) -> None:
        own = spec.own(described.Moments)
        self.step_size, self.weight_decay = spec.step_size, spec.weight_decay
        self.betas, self.epsilon = (own.beta_1, own.beta_2), own.epsilon
        self.first = {n: torch.zeros_like(w) for n, w in params.items()}
        self.second = {n: torch.zeros_like(w) for n, w in params.items()}
        self.steps = {n: torch.zeros_like(w) for n, w in params.items()}

    @torch.no_grad()
    def update(self, params: Params, grads: Grads) -> None:
        beta1, beta2 = self.betas
        for name, weight in params.items():
            grad = grads[name]
            # Corrections in double precision, and torch's order of operations: Adam's first steps divide tiny
            # gradients by their own size, so that a rounding error there soon shows in the losses.
            step = self.steps[name].add_(1).double()
            step_size = (self.step_size / (1 - beta1**step)).to(weight.dtype)
            correction = (1 - beta2**step).sqrt_().to(weight.dtype)
            if self.decoupled:
                weight.mul_(1 - self.step_size * self.weight_decay)
            elif self.weight_decay:
                grad = grad.add(weight, alpha=self.weight_decay)
            first = self.first[name].lerp_(grad, 1 - beta1)
            second = self.second[name].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            denominator = second.sqrt().div_(correction).add_(self.epsilon)
            weight.sub_(first.mul(step_size).div_(denominator))

    def moments(self, name: str) -> list[Tensor]:
        return [self.first[name], self.second[name]]

    def counts(self, name: str) -> list[Tensor]:
        return [self.steps[name]]

    def state(self) -> dict[str, Tensor]:
        kept = {"first": self.first, "second": self.second, "steps": self.steps}
        return {f"{kind}.{name}": tensor for kind, tensors in kept.items() for name, tensor in tensors.items()}


class AdamW(Adam):
    """torch.optim.AdamW: weight decay apart from the gradient."""

    decoupled = True


def build_optimizer(spec: Spec, params: Params) -> Optimizer | None:
    """The optimiser of a spec, with fresh state for `params`; None if its method has its own update."""
    if spec.parts.optimizer is None:
        return None
    optimizer: Optimizer = load(spec.parts.optimizer)(spec, params)
    return optimizer
