"""A problem: the sign of a random linear function that changes from task to task, one example at a time."""

import torch
from pydantic import Field

from lop_engine.experiment import components as describe
from lop_engine.experiment.fields import Fields
from lop_engine.generators import seed_generators
from lop_engine.problems.losses import squared_error
from lop_engine.problems.problem import Problem, Task
from lop_engine.streams import Stream, name_counter


class Keys(Fields):
    examples: int = Field(40, ge=1, description="Examples per task.")


class Signs(Problem):
    input_shape, num_outputs, shuffles = (6,), 1, False

    def loss(self, outputs_SBO, targets_SB):
        return squared_error(outputs_SBO, targets_SB)

    def tasks(self, seeds, device, start=0, dtype=torch.float32):
        for index in range(start, self.spec.num_tasks):
            generators = seed_generators(
                seeds, Stream.COMPONENT, name_counter("signs"), index, device=torch.device("cpu")
            )
            x = torch.stack([torch.randn(self.num_examples, 6, generator=one) for one in generators])
            rules = torch.stack([torch.randn(6, 1, generator=one) for one in generators])
            yield Task([{}] * len(generators), x.to(device, dtype), (x @ rules).sign().to(device, dtype))


def online_error(batch_losses):
    """Mean squared error on examples not seen before, shape (S,)."""
    return torch.stack(batch_losses).mean(0)


ERROR = describe.Metric(
    name="online_error", title="squared error", takes=("batch_losses",), better="lower", code=online_error
)
PROBLEM = describe.Problem(
    name="signs",
    title="Changing signs",
    sentence="Predict the sign of a linear function that changes with every task.",
    fields=Keys,
    code=Signs,
    headline="online_error",
    network="mlp",
    metrics=("online_error", "weight_magnitude", "dormant_proportion"),
    defaults={"num_showings": 1, "mini_batch_size": 1},
    examples_per_task="examples",
    x_unit="examples",
)
