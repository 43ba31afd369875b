"""The interface of methods, as hooks in time order. `Method` itself adds nothing: it is plain backprop.

Dimensions: S runs, B batch, N examples of a task.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lop_engine.experiment.fields import Fields
from lop_engine.experiment.spec import Spec
from lop_engine.methods.optimizers import Grads, Optimizer
from lop_engine.methods.runs import Runs
from lop_engine.methods.step_numbers import StepNumbers
from lop_engine.networks import Activations, Buffers, Hidden, Network, Params
from lop_engine.streams import Stream, name_counter

F = TypeVar("F", bound=Fields)

Forward = Callable[[Tensor], Activations]
"""Computes activations of inputs (S, B, ...) with the current weights."""


@dataclass(frozen=True)
class Setup:
    """The arguments of a method."""

    runs: Runs
    network: Network
    optimizer: Optimizer | None
    """None for a method with its own update."""
    dtype: torch.dtype = torch.float32

    @property
    def spec(self) -> Spec:
        """Return the keys that the runs share."""
        return self.runs.spec

    @property
    def seeds(self) -> Sequence[int]:
        return self.runs.seeds

    @property
    def device(self) -> torch.device:
        return self.runs.device

    def own(self, fields: type[F]) -> F:
        """Return the keys declared as `fields`, as attributes.

        A number that is marked `PER_RUN` is a tensor (S,) in double precision if the runs differ in it, for methods
        that `mixes_settings`. `runs.like` fits it to a tensor.
        """
        return self.runs.own(fields)

    def step_numbers(self, count: int, fill: Callable[..., Tensor] = Tensor.normal_, every: int = 1) -> StepNumbers:
        """Return `count` random numbers per step from the method's stream, counted by (method, task, epoch).

        Args:
            fill: fills a tensor from a generator in place, as `Tensor.normal_` and `Tensor.uniform_` do.
            every: one step in `every` draws.
        """
        counters = (name_counter(self.spec.method),)
        return StepNumbers(self.spec, self.seeds, Stream.COMPONENT, count, fill, self.device, counters, every)


@dataclass(frozen=True)
class Batch:
    """Inputs (S, B, ...) and targets (S, B, ...) of a step."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class TaskData:
    """A new task: its training examples, (S, N, ...) each, and the loss's gradient on any of them."""

    index: int
    inputs: Tensor
    targets: Tensor
    gradient: Callable[[Tensor, Tensor], Grads]
    """Return the gradient of the mean loss at the current weights, given inputs and targets (S, B, ...)."""
    new_outputs: slice | None = None
    """Outputs that the problem has just set to zero; None if there are none."""


class Method:
    """An addition to backprop.

    The hooks from `draw` to `after_update` make up a training step. A step has static shapes, never waits for the
    device and changes tensors in place, so that a GPU can replay it as a CUDA graph. Only `draw` is outside the graph.
    Python values that a step depends on must follow from `variant`.
    """

    looks_before_pooling = False
    """Whether the method uses `Hidden.before_pooling`, which takes memory."""
    step = 0
    """Number of finished steps since the run began."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def init(self, params: Params) -> None:
        """Receive the initial weights, before any checkpoint is loaded.

        Args:
            params: the learner's own tensors, changed in place as long as the run lasts: keep them to change weights
                in `start_task` and `end_task`.
        """

    def start_task(self, task: TaskData) -> None:
        """Change weights or state in place at the start of a task, after its heads were reset. Gradients are off."""

    def start_epoch(self, task: int, epoch: int) -> None:
        """Set the random streams for an epoch: functions only of (seed, task, epoch)."""

    @property
    def variant(self) -> Hashable:
        """Return the kind of the coming step if steps differ, as a function of `self.step`."""
        return None

    def draw(self) -> None:
        """Draw the coming step's random numbers, into the same tensors every time."""

    def start_step(self, params: Params) -> None:
        """Change `params` in place before the forward pass."""

    def compute(self, params: Params, inputs: Tensor, buffers: Buffers, training: bool) -> Activations:
        """Return outputs and hidden activations of inputs (S, B, ...): by default, the network's.

        For the loss, for `forward` of other hooks, and for metrics, with the weights that `evaluated` returns.

        Args:
            training: whether this is a training step, which may change `buffers` in place.
        """
        return self.setup.network(params, inputs, buffers, training=training)

    def penalty(self, params: Params) -> Tensor | None:
        """Return a term to add to the loss, (S,), differentiable in `params`; None for none."""
        return None

    def update(self, params: Params, grads: Grads, hidden: list[Hidden]) -> None:
        """Change `params` in place using the gradients of loss and penalty: by default, the optimiser's update."""
        assert self.setup.optimizer is not None, "a method without an optimiser has its own update"
        self.setup.optimizer.update(params, grads)

    def after_update(
        self,
        params: Params,
        hidden: list[Hidden],
        grads: Grads,
        batch: Batch,
        forward: Forward,
    ) -> None:
        """Change `params` in place after the update.

        Args:
            hidden: activations of the batch just trained on, with the weights before the update.
        """

    def end_task(self, task: int) -> None:
        """Change weights or state in place after a task's last step, before it is measured."""

    def evaluated(self, params: Params) -> Params:
        """Return the weights to measure."""
        return params

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that persists between steps, each with a leading seed axis."""
        return {}
