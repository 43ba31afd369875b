"""Base class and helpers of the compiled kernels.

Dimensions: S runs, K steps whose random numbers are drawn together.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lop_engine.methods.continual_backprop import GenerateAndTest
from lop_engine.methods.method import Method
from lop_engine.methods.optimizers import SGD
from lop_engine.methods.runs import Number
from lop_engine.problems import Task
from lop_engine.training.learner import Learner

ACCRUALS = ("all", "eligible", "bernoulli")
"""Values of `budget_accrual`, in the order of the kernels' numbers."""
LONGEST = 2**15
"""Length of tables by age or step count; beyond it every correction is 1."""


class FusedPart:
    """Trains a learner on a part of a task when it is called."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        optimizer = learner.optimizer
        both = [self.of_runs(one) for one in (optimizer.step_size, optimizer.weight_decay)]  # type: ignore[union-attr]
        self.steps_S = np.stack(both, axis=1).astype(np.float32)
        """Step size and weight decay of each run, (S, 2)."""

    @classmethod
    def applies(cls, learner: Learner) -> bool:
        """Whether the kernel supports these runs."""
        raise NotImplementedError

    def __call__(self, task: Task) -> tuple[Tensor, Tensor | None]:
        """Train; return the sums of each run's losses and scores over the part, (S,)."""
        raise NotImplementedError

    def of_runs(self, number: Number) -> np.ndarray:
        """Return a number per run, (S,)."""
        if isinstance(number, Tensor):
            return number.numpy()
        return np.full(len(self.learner.seeds), number, dtype=np.float64)

    def number_blocks(self, num_examples: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first example, random numbers (S, K, count)) of each block of a part; (S, K, 0) if none are drawn."""
        method = self.learner.method
        if type(method) is Method:
            yield 0, np.empty((len(self.learner.seeds), num_examples, 0), dtype=np.float32)
            return
        [numbers] = method.step_numbers  # type: ignore[attr-defined]
        start = 0
        while start < num_examples:
            block_SKN = numbers.draw_block().numpy()
            yield start, np.ascontiguousarray(block_SKN[:, : num_examples - start])
            start += block_SKN.shape[1]


def trains_one_by_one(learner: Learner) -> bool:
    """Whether the runs train in single precision, one example per step, on tasks in parts."""
    spec = learner.spec
    return spec.precision == "fp32" and spec.examples_per_part > 0 and spec.mini_batch_size == 1


def is_plain_sgd(learner: Learner) -> bool:
    """Whether the optimiser is SGD without momentum."""
    return type(learner.optimizer) is SGD and not learner.optimizer.state()


def replaces_as_usual(method: Method) -> bool:
    """Whether the method is continual backprop with the reference's utilities and one number of draws for all runs."""
    return (
        type(method) is GenerateAndTest
        and method.own.util_type in ("contribution", "adaptable_contribution")
        and not isinstance(method.own.decay_rate, Tensor)
        and len(method.step_numbers) == 1
    )


def decay_settings(method: GenerateAndTest) -> tuple[np.ndarray, np.ndarray]:
    """Return (decay rate, whether utilities adapt, accrual) for the kernels, and 1 - decay^age by age."""
    own, decay = method.own, float(method.own.decay_rate)
    adapts = own.util_type == "adaptable_contribution"
    share_A = 1 - np.float32(decay) ** np.arange(LONGEST, dtype=np.float32)
    return np.array([decay, adapts, ACCRUALS.index(own.accrual)]), share_A.astype(np.float32)


def as_arrays(tensors: list[Tensor]) -> tuple[np.ndarray, ...]:
    """Return arrays that share memory with the tensors."""
    return tuple(tensor.detach().numpy() for tensor in tensors)


@torch.no_grad()
def write_back(tensors: list[Tensor], arrays: list[np.ndarray]) -> None:
    for tensor, values in zip(tensors, arrays, strict=True):
        tensor.copy_(torch.from_numpy(values).reshape(tensor.shape))
