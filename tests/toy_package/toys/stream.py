"""A classifier that sees each example once: accuracy while it learns, no test set."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lop_engine.experiment.spec import Spec
from lop_engine.generators import seed_generators
from lop_engine.problems.losses import accuracy, cross_entropy
from lop_engine.problems.problem import Problem, Task
from lop_engine.streams import Stream, name_counter

CPU = torch.device("cpu")


class ToyStream(Problem):
    """Tell the two sides of a random plane apart, another one in every task."""

    shuffles = False
    num_outputs = 2

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.input_shape = (spec.toy_inputs,)

    def loss(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        return cross_entropy(outputs_SBO, targets_SB)

    def score(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        return accuracy(outputs_SBO, targets_SB)

    def tasks(
        self, seeds: Sequence[int], device: torch.device, start: int = 0, dtype: torch.dtype = torch.float32
    ) -> Iterator[Task]:
        counter = name_counter("toy_stream")
        for index in range(start, self.spec.num_tasks):
            generators = seed_generators(seeds, Stream.COMPONENT, counter, index, device=CPU)
            inputs = torch.stack([torch.randn(self.num_examples, *self.input_shape, generator=g) for g in generators])
            planes = torch.stack([torch.randn(*self.input_shape, 1, generator=g) for g in generators])
            labels = (inputs @ planes > 0).long().squeeze(2)
            yield Task([{} for _ in seeds], inputs.to(device, dtype), labels.to(device))


class ToyLong(ToyStream):
    """The same with tasks in parts, whose examples are made when they are needed."""

    def tasks(
        self, seeds: Sequence[int], device: torch.device, start: int = 0, dtype: torch.dtype = torch.float32
    ) -> Iterator[Task]:
        counter, size = name_counter("toy_long"), self.spec.examples_per_part
        for index in range(start, self.spec.num_tasks):
            generators = seed_generators(seeds, Stream.COMPONENT, counter, index, device=CPU)
            planes = torch.stack([torch.randn(*self.input_shape, 1, generator=g) for g in generators])

            def make_part(part: int, index: int = index, planes: Tensor = planes) -> tuple[Tensor, Tensor]:
                count = min(size, self.num_examples - part * size)
                generators = seed_generators(seeds, Stream.COMPONENT, counter, index, part, device=CPU)
                inputs = torch.stack([torch.randn(count, *self.input_shape, generator=g) for g in generators])
                return inputs.to(device, dtype), (inputs @ planes > 0).long().squeeze(2).to(device)

            yield Task([{} for _ in seeds], *make_part(0), make_part=make_part)
