"""The interface of problems for the training loop.

Dimensions: S seeds, N examples of a task, B batch, O outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lop_engine.experiment.spec import Spec


@dataclass(frozen=True)
class Task:
    """A task for every seed, on the device. Inputs are (S, N, ...), targets (S, N) classes or (S, N, O) numbers."""

    facts: list[dict[str, Any]]
    """Facts that are recorded for each seed besides metrics, such as the task's classes."""
    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor | None = None
    test_targets: Tensor | None = None
    make_part: Callable[[int], tuple[Tensor, Tensor]] | None = None
    """For a task in parts (`examples_per_part` of its problem's description): makes inputs and targets of a part, given
    its number from 0, so that a long task need not be in memory as a whole. `train_inputs` and `train_targets` are
    those of one part. Every number depends on (seed, task, part) alone."""

    def part(self, index: int) -> "Task":
        """Return the task with the training examples of part `index`; a task without parts itself."""
        if self.make_part is None:
            return self
        inputs, targets = self.make_part(index)
        return replace(self, train_inputs=inputs, train_targets=targets)


class Problem:
    """A stream of tasks with a loss and a score. Subclasses implement `loss` and `tasks`.

    Built from a spec alone; `tasks` may open data sets.
    """

    input_shape: tuple[int, ...]
    """Shape of one example."""
    num_outputs: int
    shuffles = True
    """Whether each epoch takes the examples in a new random order; else, and in parts, in the order in which they
    come."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @property
    def num_examples(self) -> int:
        """Return the number of training examples of a task."""
        return self.spec.parts.problem.num_examples(self.spec)

    def loss(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        """Return the mean loss of each seed over its batch, (S,)."""
        raise NotImplementedError

    def score(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor | None:
        """Return the mean score of each seed over its batch, (S,), such as the accuracy; None without a score."""
        return None

    def reset_outputs(self, task: int) -> slice | None:
        """Return the outputs whose weights and biases are set to zero at the start of a task; None for none."""
        return None

    def tasks(
        self, seeds: Sequence[int], device: torch.device, start: int = 0, dtype: torch.dtype = torch.float32
    ) -> Iterator[Task]:
        """Yield the tasks from `start` on, with real inputs as `dtype`.

        Every number depends on seed and task alone. Raises DataError.
        """
        raise NotImplementedError
