"""Compare methods that act at task boundaries with public implementations, number by number."""

import numpy as np
import pytest
import torch

from lop_engine.problems import Task
from lop_engine.training.learner import Learner
from tests.engine.golden import golden_learner, load, training_batches
from tests.engine.test_golden_methods import SGD, assert_trains_as, make_spec

BOUNDARY = 10
"""Steps before the boundary."""


def with_boundary(learner: Learner) -> dict[str, np.ndarray]:
    """Let a task end after ten steps. Return a dict that will contain the weights right after the boundary."""
    images, labels = (torch.from_numpy(part[BOUNDARY:]).flatten(0, 1)[None] for part in training_batches())
    step, after = learner.step, {}
    learner.start_task(0, Task([{}], images, labels))  # changes nothing

    def step_and_boundary(inputs, targets):
        result = step(inputs, targets)
        if learner.method.step == BOUNDARY:
            learner.end_task(0)
            learner.start_task(1, Task([{}], images, labels))
            after.update({name: weight[0].detach().numpy().copy() for name, weight in learner.params.items()})
        return result

    learner.step = step_and_boundary
    return after


@pytest.mark.parametrize(
    ("name", "agent", "settings", "weights"),
    [
        ("snp_task_sgd", "snp_task", {"snp_task_shrink": 0.8, "snp_task_weights": "initial"}, 1e-4),
        (
            "snp_task_kept_sgd",
            "snp_task",
            {"snp_task_shrink": 0.8, "snp_task_weights": "initial", "snp_task_optimizer_state": "keep"},
            1e-4,
        ),
        ("dash_sgd", "dash", {"dash_alpha": 0.3, "dash_lambda": 0.3}, 1e-3),  # cosines of nearly zero gradients
        ("fire_sgd", "fire", {"fire_iterations": 10}, 1e-4),
    ],
)
@pytest.mark.long
def test_a_method_agrees_with_its_public_implementation_at_a_boundary(name, agent, settings, weights):
    learner, stored = golden_learner(make_spec(agent, new_heads=False, **SGD | settings)), load(f"methods/{name}")
    after = with_boundary(learner)
    assert_trains_as(name, learner, weights=weights)
    compared = [key.removeprefix("after_boundary.") for key in stored if key.startswith("after_boundary.")]
    assert compared == ["conv1.weight", "fc2.weight", "fc3.weight"]
    for key in compared:
        assert np.abs(after[key] - stored[f"after_boundary.{key}"]).max() < weights, key
