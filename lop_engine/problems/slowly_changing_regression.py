"""Slowly-Changing Regression: fit a network of threshold units on bits, most of which change only between tasks.

A task is the block of examples between two changes of the slow bits. The rest of an example is fresh random bits, so
a task has few different inputs, and its targets are looked up in a table of them. Streams of a seed: the target network
(0), the slow bits (1; 2 for flips of single bits), the random bits of (task, part) (3).

Dimensions: S seeds, N examples, I inputs, H units of the target network, C different inputs of a task, R random bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from lop_engine.experiment import problems as described
from lop_engine.experiment.spec import Spec
from lop_engine.problems.losses import squared_error
from lop_engine.problems.problem import Problem, Task
from lop_engine.streams import Stream, bits, name_counter

_COUNTER = name_counter("slowly_changing_regression")
_TARGET, _SLOW, _FLIPS, _RANDOM = range(4)


@dataclass(frozen=True)
class TargetNetwork:
    """Threshold units over bits, and a linear output: y = w2 h + b2, h = 1 where w1 x + b1 > tau. All weights are +-1.

    tau = beta (I + 1) - (I - sum of a unit's w1 + b1) / 2.
    """

    w1_SHI: Tensor
    b1_SH: Tensor
    w2_SH: Tensor
    b2_S: Tensor
    beta: float

    @cached_property
    def tau_SH(self) -> Tensor:  # noqa: N802
        """Return the thresholds, in float32 as in the reference."""
        num_inputs = self.w1_SHI.shape[2]
        return self.beta * (num_inputs + 1) - (num_inputs - self.w1_SHI.sum(2) + self.b1_SH) / 2

    def __call__(self, x_SNI: Tensor) -> Tensor:
        """Return the targets (S, N) of inputs."""
        sums_SNH = x_SNI @ self.w1_SHI.mT + self.b1_SH.unsqueeze(1)
        active_SNH = (sums_SNH > self.tau_SH.unsqueeze(1)).float()
        return (active_SNH @ self.w2_SH.unsqueeze(2)).squeeze(2) + self.b2_S.unsqueeze(1)

    @classmethod
    def of_seeds(cls, seeds: Sequence[int], own: described.SlowlyChangingRegression) -> "TargetNetwork":
        inputs, units = own.num_inputs, own.num_target_features
        sizes = [units * inputs, units, units, 1]
        drawn = torch.from_numpy(np.stack([_random_bits(sum(sizes), seed, _TARGET) for seed in seeds]))
        w1, b1, w2, b2 = (2.0 * drawn - 1).split(sizes, dim=1)
        return cls(w1.unflatten(1, (units, inputs)), b1, w2, b2.squeeze(1), own.beta)


class SlowlyChangingRegression(Problem):
    """Squared error on one real target."""

    shuffles = False
    num_outputs = 1

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.own = spec.own(described.SlowlyChangingRegression)
        self.input_shape = (self.own.num_inputs,)

    def loss(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        return squared_error(outputs_SBO, targets_SB)

    def tasks(
        self, seeds: Sequence[int], device: torch.device, start: int = 0, dtype: torch.dtype = torch.float32
    ) -> Iterator[Task]:
        """Yield the blocks from `start` on; their inputs and targets are made by part, on the device."""
        target = TargetNetwork.of_seeds(seeds, self.own)
        for index in range(start, self.spec.num_tasks):
            table_SCI = self._different_inputs(seeds, index)
            tables = table_SCI.to(device, dtype), target(table_SCI).unsqueeze(2).to(device, dtype)
            make_part = partial(self._part, seeds, index, *tables)
            yield Task([{} for _ in seeds], *make_part(0), make_part=make_part)

    def _different_inputs(self, seeds: Sequence[int], task: int) -> Tensor:
        """Return every input of a task: its slow bits with all values of the random bits, (S, C, I)."""
        num_random = self.own.num_inputs - self.own.num_flipping_bits
        codes_C = np.arange(2**num_random, dtype=np.uint32)
        random_CR = (codes_C[:, None] >> np.arange(num_random, dtype=np.uint32)) & 1
        slow = np.stack([self._slow_bits(seed, task) for seed in seeds])
        shape = (len(seeds), len(codes_C))
        parts = [
            np.broadcast_to(slow[:, None], (*shape, slow.shape[1])),
            np.broadcast_to(random_CR, (*shape, num_random)),
        ]
        return torch.from_numpy(np.concatenate(parts, axis=2).astype(np.float32))

    def _slow_bits(self, seed: int, task: int) -> np.ndarray:
        count = self.own.num_flipping_bits
        if not self.own.flip_one:
            return _random_bits(count, seed, _SLOW, task)
        flipped = bits(task, seed, Stream.COMPONENT, _COUNTER, _FLIPS) % np.uint64(max(1, count))
        times = np.bincount(flipped.astype(np.int64), minlength=count)
        return (_random_bits(count, seed, _SLOW, 0) + times) % 2

    def _part(
        self, seeds: Sequence[int], task: int, table_SCI: Tensor, targets_SC1: Tensor, part: int
    ) -> tuple[Tensor, Tensor]:
        """Return inputs (S, N, I) and targets (S, N, 1) of a part; in memory, all runs' examples are consecutive."""
        size, num_random = self.spec.examples_per_part, self.own.num_inputs - self.own.num_flipping_bits
        count = min(size, self.num_examples - part * size)
        drawn_SN = np.stack([_random_words(count, seed, _RANDOM, task, part) for seed in seeds])
        codes_SN = torch.from_numpy((drawn_SN & (2**num_random - 1)).astype(np.int32))
        codes_NS = codes_SN.to(table_SCI.device).T.contiguous()
        first_S = torch.arange(len(seeds), dtype=torch.int32, device=table_SCI.device) * 2**num_random
        rows = (codes_NS + first_S).flatten()
        inputs, targets = (
            table.flatten(0, 1).index_select(0, rows).view(count, len(seeds), -1).transpose(0, 1)
            for table in (table_SCI, targets_SC1)
        )
        return inputs, targets


def _random_bits(count: int, seed: int, *counters: int) -> np.ndarray:
    """Return fair bits of a seed's stream, (count,) int64."""
    return (_random_words(count, seed, *counters) & 1).astype(np.int64)


def _random_words(count: int, seed: int, *counters: int) -> np.ndarray:
    """Return uniform random numbers of 16 bits, (count,) uint16."""
    words = bits(-(-count // 4), seed, Stream.COMPONENT, _COUNTER, *counters)
    return words.astype("<u8").view("<u2")[:count]
