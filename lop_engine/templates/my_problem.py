"""my_problem, a problem of your own: predict the sign of a linear function that changes with every task.

It is an example to change. A worker trains several seeds at once: the first axis S of every tensor is the seed. Each
seed has its own tasks. Every number of a task must depend only on the seed and the task's number, because a resumed run
can begin at any task.
"""

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor

from lop_engine.experiment import components as describe
from lop_engine.experiment.fields import Fields, Int
from lop_engine.experiment.spec import Spec
from lop_engine.generators import seed_generators
from lop_engine.problems.losses import squared_error
from lop_engine.problems.problem import Problem, Task
from lop_engine.streams import Stream, name_counter


class Keys(Fields):
    """The problem's own keys in an experiment file, with bounds, default and help."""

    inputs: Int = Field(8, ge=1, description="Numbers per example.")
    examples: Int = Field(200, ge=1, description="Examples per task.")


class MyProblem(Problem):
    """One example at a time, in their given order (`shuffles`), and one output."""

    num_outputs = 1
    shuffles = False

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)  # keeps spec
        self.input_shape = (spec.own(Keys).inputs,)

    def loss(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        """Return the mean loss of a batch for each seed, (S,). `score` is a similar function, such as the accuracy."""
        return squared_error(outputs_SBO, targets_SB)

    def tasks(
        self, seeds: Sequence[int], device: torch.device, start: int = 0, dtype: torch.dtype = torch.float32
    ) -> Iterator[Task]:
        """Yield the tasks from `start` on: inputs (S, examples, inputs), targets (S, examples, 1)."""
        counter = name_counter("my_problem")
        for index in range(start, self.spec.num_tasks):
            generators = seed_generators(seeds, Stream.COMPONENT, counter, index, device=torch.device("cpu"))
            x = torch.stack([torch.randn(self.num_examples, *self.input_shape, generator=one) for one in generators])
            rules = torch.stack([torch.randn(*self.input_shape, 1, generator=one) for one in generators])
            targets = torch.where(x @ rules > 0, 1.0, -1.0)
            # The first argument is a dict for each seed, with what to record. A test set may follow the targets.
            yield Task([{} for _ in seeds], x.to(device, dtype), targets.to(device, dtype))


def online_error(batch_losses: list[Tensor]) -> Tensor:
    """Return the mean squared error on examples before they are learned, (S,)."""
    return torch.stack(batch_losses).mean(0)


#: What tables and charts show first. A problem with a score and labels can use train_accuracy instead.
HEADLINE = describe.Metric(
    name="my_problem_error",
    title="squared error",
    sentence="Mean squared error on examples before they are learned.",
    takes=("batch_losses",),
    better="lower",
    code=online_error,
)

PROBLEM = describe.Problem(
    name="my_problem",
    title="my problem",
    sentence="Predict the sign of a linear function that changes with every task.",
    fields=Keys,
    headline="my_problem_error",
    network="mlp",
    metrics=("my_problem_error", "weight_magnitude", "dormant_proportion"),
    defaults={"num_showings": 1, "mini_batch_size": 1},
    examples_per_task="examples",  # a number, or the name of the key that holds it
    x_unit="examples",
    code=MyProblem,
)
