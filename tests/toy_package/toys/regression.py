"""A regression: one example a step, squared error, no accuracy."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lop_engine.experiment.spec import Spec
from lop_engine.generators import seed_generators
from lop_engine.problems.losses import squared_error
from lop_engine.problems.problem import Problem, Task
from lop_engine.streams import Stream, name_counter

CPU = torch.device("cpu")


class ToyRegression(Problem):
    """Fit the tanh of a random linear function, another one in every task."""

    shuffles = False
    num_outputs = 1

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.input_shape = (spec.toy_inputs,)

    def loss(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        return squared_error(outputs_SBO, targets_SB)

    def tasks(
        self, seeds: Sequence[int], device: torch.device, start: int = 0, dtype: torch.dtype = torch.float32
    ) -> Iterator[Task]:
        counter = name_counter("toy_regression")
        for index in range(start, self.spec.num_tasks):
            generators = seed_generators(seeds, Stream.COMPONENT, counter, index, device=CPU)
            inputs = torch.stack([torch.randn(self.num_examples, *self.input_shape, generator=g) for g in generators])
            weights = torch.stack([torch.randn(*self.input_shape, 1, generator=g) for g in generators])
            yield Task([{} for _ in seeds], inputs.to(device, dtype), torch.tanh(inputs @ weights).to(device, dtype))
