"""The hooks suffice for methods that lop does not have: small ones, built here, against public implementations."""

import pytest
import torch

from lop_engine.methods.method import Method
from lop_engine.problems import Task
from tests.engine.golden import golden_learner, training_batches
from tests.engine.test_golden_methods import SGD, assert_trains_as, make_spec

BOUNDARY = 10


class Noting(Method):
    """Keeps the weights, and what they were at first."""

    def init(self, params):
        self.params = params
        self.initial = {name: weight.detach().clone() for name, weight in params.items()}


class SpectralPenalty(Noting):
    """Largest singular values near 1, and small biases."""

    def penalty(self, params):
        weights = [weight.flatten(2) for name, weight in params.items() if name.endswith("weight")]
        biases = [bias for name, bias in params.items() if name.endswith("bias")]
        of_weights = [(torch.linalg.matrix_norm(weight, 2) ** 2 - 1) ** 2 for weight in weights]
        return 0.01 * torch.stack([*of_weights, *(bias.square().sum(1) ** 2 for bias in biases)]).sum(0)


class Dash(Noting):
    """At a boundary, shrink the weights whose direction the new task's gradient does not share."""

    def start_task(self, task):
        mean = {name: torch.zeros_like(weight) for name, weight in self.params.items()}
        for inputs, targets in zip(task.inputs.split(100, 1), task.targets.split(100, 1), strict=True):
            for name, grad in task.gradient(inputs, targets).items():
                mean[name].mul_(0.7).sub_(grad, alpha=0.3)
        for name, weight in self.params.items():
            rows, towards = (one.flatten(3) if one.dim() > 3 else one for one in (weight, mean[name]))
            factor = torch.cosine_similarity(rows, towards, dim=-1).clamp(0.3, 1)
            weight.mul_(factor.view(*factor.shape, *[1] * (weight.dim() - factor.dim())))


class Fire(Noting):
    """At a boundary, make the weights orthogonal by Newton-Schulz iterations, and the optimiser new."""

    def start_task(self, task):
        for name, weight in self.params.items():
            if not name.endswith("weight"):
                continue
            kernel = weight.shape[3:]
            matrix = weight.flatten(3).movedim(3, 1) if kernel else weight
            x = matrix / torch.linalg.matrix_norm(matrix, keepdim=True)
            for _ in range(10):
                x = 1.5 * x - 0.5 * x @ x.mT @ x
            x = x * (matrix.shape[-2] / matrix.shape[-1]) ** 0.5 / (kernel.numel() or 1)
            weight.copy_(x.movedim(1, 3).unflatten(3, kernel) if kernel else x)
        for kept in self.setup.optimizer.state().values():
            kept.zero_()


def follow(name: str, method: type[Noting], settings=SGD, task_ends=(), losses=2e-6) -> Noting:
    """Train the 20 steps with a method, a new task after each of `task_ends` steps, and compare them."""
    learner = golden_learner(make_spec(new_heads=False, **settings))
    learner.method = method(learner.method.setup)
    learner.method.init(learner.params)
    images, labels = (torch.from_numpy(part[BOUNDARY:]).flatten(0, 1)[None] for part in training_batches())
    step = learner.step

    def step_and_task_end(x, y):
        result = step(x, y)
        if learner.method.step in task_ends:
            learner.end_task(0)
            learner.start_task(1, Task([{}], images, labels))
        return result

    learner.step = step_and_task_end
    assert_trains_as(name, learner, losses=losses)
    return learner.method


@pytest.mark.parametrize(
    ("name", "method", "more"),
    [
        ("spectral_formula_bias_sgd", SpectralPenalty, {"losses": 5e-6}),
        ("dash_sgd", Dash, {"task_ends": (BOUNDARY,)}),
        ("fire_sgd", Fire, {"task_ends": (BOUNDARY,)}),
    ],
)
def test_a_method_of_hooks_follows_its_public_implementation(name, method, more):
    follow(name, method, **more)
