"""torch's SGD, Adam and AdamW, over weights with a leading seed axis and without host synchronisation."""

import torch
from torch import Tensor

from lop_engine.nets import Params
from lop_engine.spec import Spec

Grads = dict[str, Tensor]


class SGD:
    """d = g + weight_decay * w;  m = momentum * m + d;  w -= step_size * m  (torch.optim.SGD)."""

    def __init__(self, params: Params, step_size: float, momentum: float, weight_decay: float) -> None:
        self.step_size, self.momentum, self.weight_decay = step_size, momentum, weight_decay
        self.moments = {n: torch.zeros_like(w) for n, w in params.items()} if momentum else {}

    @torch.no_grad()
    def update(self, params: Params, grads: Grads) -> None:
        for name, weight in params.items():
            change = grads[name]
            if self.weight_decay:
                change = change.add(weight, alpha=self.weight_decay)
            if self.momentum:
                change = self.moments[name].mul_(self.momentum).add_(change)
            weight.sub_(change, alpha=self.step_size)

    def forget(self, name: str, mask: Tensor) -> None:
        """CBP leaves SGD's momentum as it is."""

    def state(self) -> dict[str, Tensor]:
        return {f"momentum.{name}": moment for name, moment in self.moments.items()}


class Adam:
    """torch.optim.Adam; with `decoupled` weight decay, torch.optim.AdamW. beta 0.9, 0.999; epsilon 1e-8.

    Every weight counts its own steps, so that CBP can let the new weights of a replaced unit start over (`forget`).
    This is torch's Adam with resets; the reference's own Adam for CBP leaves out a division by the second correction.
    """

    betas = (0.9, 0.999)
    epsilon = 1e-8

    def __init__(self, params: Params, step_size: float, weight_decay: float, decoupled: bool) -> None:
        self.step_size, self.weight_decay, self.decoupled = step_size, weight_decay, decoupled
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
            step_size = (self.step_size / (1 - beta1**step)).float()
            correction = (1 - beta2**step).sqrt_().float()
            if self.decoupled:
                weight.mul_(1 - self.step_size * self.weight_decay)
            elif self.weight_decay:
                grad = grad.add(weight, alpha=self.weight_decay)
            first = self.first[name].lerp_(grad, 1 - beta1)
            second = self.second[name].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            denominator = second.sqrt().div_(correction).add_(self.epsilon)
            weight.sub_(first.mul(step_size).div_(denominator))

    def forget(self, name: str, mask: Tensor) -> None:
        """Reset moments and step counts where `mask` (broadcast over the weight) is true."""
        for kept in (self.first, self.second, self.steps):
            kept[name].masked_fill_(mask, 0)

    def state(self) -> dict[str, Tensor]:
        kept = {"first": self.first, "second": self.second, "steps": self.steps}
        return {f"{kind}.{name}": tensor for kind, tensors in kept.items() for name, tensor in tensors.items()}


Optimizer = SGD | Adam


def build_optimizer(spec: Spec, params: Params) -> Optimizer:
    """The optimiser of a spec, with fresh state for `params`."""
    if spec.opt == "sgd":
        return SGD(params, spec.step_size, spec.momentum, spec.weight_decay)
    return Adam(params, spec.step_size, spec.weight_decay, spec.opt == "adamW")
