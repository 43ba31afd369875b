"""One learner: a network, its weights, an optimiser, and what the method adds to backprop.

Dimensions: S seeds, B batch, C channels, H W image sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lop_engine.nets import Net, Params
from lop_engine.optimizers import Optimizer
from lop_engine.precision import training_precision
from lop_engine.spec import Precision


class Mechanism:
    """What a method adds to backprop: something done to the weights around each update. This one adds nothing."""

    def start_epoch(self, task: int, epoch: int) -> None:
        """Set the random streams for an epoch: functions of (seed, task, epoch) alone."""

    def draw(self) -> None:
        """Draw the coming step's random numbers, into the same tensors every time."""

    def before_update(self, params: Params, hidden: list[Tensor]) -> None:
        """Change `params` in place between the backward pass and the optimiser's step."""

    def after_update(self, params: Params, hidden: list[Tensor]) -> None:
        """Change `params` in place, given the activations of the batch just trained on."""

    def state(self) -> dict[str, Tensor]:
        """Every tensor that outlives a step, each with a leading seed axis."""
        return {}


@dataclass(frozen=True)
class StepResult:
    """Of the batch just trained on, before its update: mean loss and accuracy a seed."""

    loss_S: Tensor
    accuracy_S: Tensor


class Learner:
    """Trains S independent copies of one network, one mini-batch a step.

    The step has static shapes, never waits for the device, and changes its tensors in place: all but the drawing of
    random numbers can be captured once and replayed (`lop_engine.cuda_graph`).
    """

    def __init__(
        self,
        net: Net,
        params: Params,
        optimizer: Optimizer,
        mechanism: Mechanism,
        seeds: Sequence[int],
        precision: Precision = "fp32",
    ) -> None:
        self.net, self.params = net, params
        self.optimizer, self.mechanism = optimizer, mechanism
        self.seeds, self.precision = list(seeds), precision
        for weight in params.values():
            weight.requires_grad_(True)

    def step(self, images_SBCHW: Tensor, labels_SB: Tensor) -> StepResult:
        """Forward, softmax cross-entropy, backward, update, and the method's mechanism."""
        self.mechanism.draw()
        return self.learn(images_SBCHW, labels_SB)

    def learn(self, images_SBCHW: Tensor, labels_SB: Tensor) -> StepResult:
        """A step with the random numbers that are drawn already."""
        with training_precision(self.precision, images_SBCHW.device.type):
            activations = self.net(self.params, images_SBCHW)
            logits_SBO, hidden = activations.logits_SBO.float(), [h.float() for h in activations.hidden]
            loss_S = cross_entropy(logits_SBO, labels_SB)
            # The sum over seeds gives every seed the gradient of its own mean loss.
            grads = torch.autograd.grad(loss_S.sum(), list(self.params.values()))
        with torch.no_grad():
            self.mechanism.before_update(self.params, hidden)
            self.optimizer.update(self.params, dict(zip(self.params, grads, strict=True)))
            self.mechanism.after_update(self.params, hidden)
            return StepResult(loss_S.detach(), accuracy(logits_SBO, labels_SB))

    @torch.no_grad()
    def reset_head(self) -> None:
        """Zero the last layer, as at the start of every task; all else carries over."""
        head = self.net.layers[-1].name
        self.params[f"{head}.weight"].zero_()
        self.params[f"{head}.bias"].zero_()

    def start_epoch(self, task: int, epoch: int) -> None:
        self.mechanism.start_epoch(task, epoch)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that outlives a step, by name, each with a leading seed axis: views, not copies."""
        return {
            **{f"params.{name}": weight.detach() for name, weight in self.params.items()},
            **{f"optimizer.{name}": tensor for name, tensor in self.optimizer.state().items()},
            **{f"mechanism.{name}": tensor for name, tensor in self.mechanism.state().items()},
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Copy a state of the same names and shapes in."""
        own = self.state()
        if own.keys() != state.keys():
            raise ValueError(f"state holds other tensors: {sorted(own.keys() ^ state.keys())}")
        for name, tensor in own.items():
            tensor.copy_(state[name])


def cross_entropy(logits_SBO: Tensor, labels_SB: Tensor) -> Tensor:
    """Mean softmax cross-entropy a seed, shape (S,)."""
    losses = F.cross_entropy(logits_SBO.flatten(0, 1), labels_SB.flatten(), reduction="none")
    return losses.unflatten(0, labels_SB.shape).mean(1)


def accuracy(logits_SBO: Tensor, labels_SB: Tensor) -> Tensor:
    """Share of right answers a seed, shape (S,); ties go to the lower class, as in argmax."""
    return (logits_SBO.argmax(2) == labels_SB).float().mean(1)
