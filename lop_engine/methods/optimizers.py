"""torch's SGD, RMSprop, Adam and AdamW, over weights with a leading axis of runs and without host synchronisation."""

from collections.abc import Callable
from math import ceil, log
from typing import Protocol

import torch
from torch import Tensor

from lop_engine.experiment import optimizers as described
from lop_engine.experiment.code import load
from lop_engine.experiment.parts import Experiment
from lop_engine.methods.runs import Number, Runs, add_, is_used, like, plus
from lop_engine.networks import Network, Params

Grads = dict[str, Tensor]

_LARGEST_BETA = 0.99999
"""Largest beta of a table of corrections: 30 MB."""


class Optimizer(Protocol):
    """An update rule with its state. Built from runs, their weights, and their network."""

    def update(self, params: Params, grads: Grads) -> None:
        """Change `params` in place."""

    def moments(self, name: str) -> list[Tensor]:
        """Return the running means of a weight's gradients, in the weight's shape."""

    def counts(self, name: str) -> list[Tensor]:
        """Return the step counts of a weight's entries, in the weight's shape."""

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that persists between steps, each with a leading axis of runs."""

    def is_unused(self, name: str, run: int) -> bool:
        """Whether a run, by its index in the stack, would lack the state tensor `name` if it trained alone."""


class SGD:
    """d = g + weight_decay * w;  m = momentum * m + d;  w -= step_size * m  (torch.optim.SGD)."""

    def __init__(self, runs: Runs, params: Params, network: Network) -> None:
        own = runs.own(Experiment)
        self.step_size, self.weight_decay = own.step_size, own.weight_decay
        self.momentum: Number = runs.own(described.Momentum).momentum
        self._has_momentum = [one.momentum != 0 for one in runs.each(described.Momentum)]
        self._moments = {n: torch.zeros_like(w) for n, w in params.items()} if any(self._has_momentum) else {}

    @torch.no_grad()
    def update(self, params: Params, grads: Grads) -> None:
        weights, changes = list(params.values()), [grads[name] for name in params]
        if is_used(self.weight_decay):
            changes = [plus(grad, weight, self.weight_decay) for grad, weight in zip(changes, weights, strict=True)]
        if is_used(self.momentum):
            moments = [self._moments[name] for name in params]
            _multiply_(moments, self.momentum)
            torch._foreach_add_(moments, changes)
            changes = moments
        _add_(weights, changes, -self.step_size)

    def moments(self, name: str) -> list[Tensor]:
        return [self._moments[name]] if self._moments else []

    def counts(self, name: str) -> list[Tensor]:
        return []

    def state(self) -> dict[str, Tensor]:
        return {f"momentum.{name}": moment for name, moment in self._moments.items()}

    def is_unused(self, name: str, run: int) -> bool:
        return not self._has_momentum[run]


class RMSprop:
    """v = beta_2 * v + (1 - beta_2) * d^2;  m = momentum * m + d / (sqrt(v) + epsilon);  w -= step_size * m.

    d = g + weight_decay * w. This is torch.optim.RMSprop, not centred, whose alpha is beta_2.
    """

    def __init__(self, runs: Runs, params: Params, network: Network) -> None:
        own, of_all = runs.own(described.RMSpropKeys), runs.own(Experiment)
        self.step_size, self.weight_decay = of_all.step_size, of_all.weight_decay
        self.beta, self.momentum, self.epsilon = own.beta_2, own.momentum, own.epsilon
        self._has_momentum = [one.momentum != 0 for one in runs.each(described.RMSpropKeys)]
        self.second = {n: torch.zeros_like(w) for n, w in params.items()}
        self._moments = {n: torch.zeros_like(w) for n, w in params.items()} if any(self._has_momentum) else {}

    @torch.no_grad()
    def update(self, params: Params, grads: Grads) -> None:
        for name, weight in params.items():
            grad = plus(grads[name], weight, self.weight_decay) if is_used(self.weight_decay) else grads[name]
            second = _add_square(self.second[name].mul_(like(self.beta, grad)), grad, 1 - self.beta)
            change = grad / second.sqrt().add_(like(self.epsilon, grad))
            if is_used(self.momentum):
                moment = self._moments[name]
                change = moment.mul_(like(self.momentum, moment)).add_(change)
            add_(weight, change, -self.step_size)

    def moments(self, name: str) -> list[Tensor]:
        return [self.second[name], *([self._moments[name]] if self._moments else [])]

    def counts(self, name: str) -> list[Tensor]:
        return []

    def state(self) -> dict[str, Tensor]:
        moments = {"second": self.second, "momentum": self._moments}
        return {f"{kind}.{name}": tensor for kind, tensors in moments.items() for name, tensor in tensors.items()}

    def is_unused(self, name: str, run: int) -> bool:
        return name.startswith("momentum.") and not self._has_momentum[run]


class Adam:
    """torch.optim.Adam.

    Every weight counts its own steps, so that CBP can let the new weights of a replaced unit start over. This is
    torch's Adam with resets; the reference's own Adam for CBP leaves out a division by the second correction.
    """

    decoupled = False
    """Whether weight decay is separate from the gradient."""

    def __init__(self, runs: Runs, params: Params, network: Network) -> None:
        own, of_all = runs.own(described.Moments), runs.own(Experiment)
        self.step_size, self.weight_decay = of_all.step_size, of_all.weight_decay
        self.betas, self.epsilon = (own.beta_1, own.beta_2), own.epsilon
        self.first = {n: torch.zeros_like(w) for n, w in params.items()}
        self.second = {n: torch.zeros_like(w) for n, w in params.items()}
        self.steps = {n: torch.zeros_like(w) for n, w in params.items()}
        self.corrections = [_correction(beta, runs.device) for beta in self.betas]

    @torch.no_grad()
    def update(self, params: Params, grads: Grads) -> None:
        beta1, beta2 = self.betas
        correction1, correction2 = self.corrections
        for name, weight in params.items():
            grad = grads[name]
            # Corrections in double precision, and torch's order of operations: Adam's first steps divide tiny
            # gradients by their own size, so that a rounding error there soon shows in the losses.
            steps = self.steps[name].add_(1)
            share = correction1(steps)
            step_size = (like(self.step_size, share) / share).to(weight.dtype)
            correction = correction2(steps).sqrt().to(weight.dtype)
            if self.decoupled:
                weight.mul_(like(1 - self.step_size * self.weight_decay, weight))
            elif is_used(self.weight_decay):
                grad = plus(grad, weight, self.weight_decay)
            first = self.first[name].lerp_(grad, like(1 - beta1, grad))
            second = _add_square(self.second[name].mul_(like(beta2, grad)), grad, 1 - beta2)
            denominator = second.sqrt().div_(correction).add_(like(self.epsilon, grad))
            weight.sub_(first.mul(step_size).div_(denominator))

    def moments(self, name: str) -> list[Tensor]:
        return [self.first[name], self.second[name]]

    def counts(self, name: str) -> list[Tensor]:
        return [self.steps[name]]

    def state(self) -> dict[str, Tensor]:
        moments = {"first": self.first, "second": self.second, "steps": self.steps}
        return {f"{kind}.{name}": tensor for kind, tensors in moments.items() for name, tensor in tensors.items()}

    def is_unused(self, name: str, run: int) -> bool:
        return False


class AdamW(Adam):
    """torch.optim.AdamW: weight decay separate from the gradient."""

    decoupled = True


class AdamGnT(Adam):
    """The Adam that the reference uses under CBP: w -= step_size * (1 - beta_2^t) * m / (sqrt(v) + epsilon).

    Its code computes Adam's correction, sqrt(1 - beta_2^t) / (1 - beta_1^t), and does not use it.
    """

    @torch.no_grad()
    def update(self, params: Params, grads: Grads) -> None:
        beta1, beta2 = self.betas
        _, correction2 = self.corrections
        for name, weight in params.items():
            grad = plus(grads[name], weight, self.weight_decay) if is_used(self.weight_decay) else grads[name]
            share = correction2(self.steps[name].add_(1))
            step_size = (like(self.step_size, share) * share).to(weight.dtype)
            first = self.first[name].lerp_(grad, like(1 - beta1, grad))
            second = _add_square(self.second[name].mul_(like(beta2, grad)), grad, 1 - beta2)
            weight.sub_(first.mul(step_size).div_(second.sqrt().add_(like(self.epsilon, grad))))


def _correction(beta: Number, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return 1 - beta^t for each entry of a tensor of step counts t, in double precision.

    A CPU looks it up, because two powers for each weight take longer than the rest of Adam's step.
    """

    def compute(steps: Tensor) -> Tensor:
        steps = steps.double()
        return 1 - like(beta, steps) ** steps

    if device.type != "cpu" or isinstance(beta, Tensor) or not 0 < beta <= _LARGEST_BETA:
        return compute
    num_below_one = ceil(54 * log(2) / -log(beta))  # after this many steps it is 1
    # A whole number of the processor's vectors, so that each entry is computed by the same instructions.
    table = compute(torch.arange(-(-(num_below_one + 1) // 64) * 64, dtype=torch.float64))

    def look_up(steps: Tensor) -> Tensor:
        places = steps.clamp(max=len(table) - 1).int().flatten()
        return table.index_select(0, places).view(steps.shape)

    return look_up


def _multiply_(tensors: list[Tensor], number: Number) -> None:
    """Multiply in place; a GPU handles all tensors in one call."""
    if isinstance(number, Tensor):
        for tensor in tensors:
            tensor.mul_(like(number, tensor))
    else:
        torch._foreach_mul_(tensors, number)


def _add_(tensors: list[Tensor], others: list[Tensor], number: Number) -> None:
    """Add number x other in place; a GPU handles all tensors in one call."""
    if isinstance(number, Tensor):
        for tensor, other in zip(tensors, others, strict=True):
            add_(tensor, other, number)
    else:
        torch._foreach_add_(tensors, others, alpha=number)


def _add_square(tensor: Tensor, grad: Tensor, number: Number) -> Tensor:
    """Add number x grad^2 in place."""
    if isinstance(number, Tensor):
        return tensor.addcmul_(grad * like(number, grad), grad)
    return tensor.addcmul_(grad, grad, value=number)


def build_optimizer(runs: Runs, params: Params, network: Network) -> Optimizer | None:
    """Return the optimiser of runs, with initial state for `params`; None if their method has its own update."""
    described_as = runs.spec.parts.optimizer
    if described_as is None:
        return None
    optimizer: Optimizer = load(described_as)(runs, params, network)
    return optimizer
