"""Plain second implementations of methods: one run without an axis of runs, torch's own optimisers, a loop.

Only random draws are taken from the tested method, which therefore steps first.

Dimensions: S seeds, N examples of a task, B batch.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lop_engine.experiment.registry import METHODS
from lop_engine.training.learner import Learner
from tests.engine.test_methods import CPU, make_spec, task_of

NUM_TASKS, NUM_STEPS, BATCH = 3, 5, 4
SEEDS = [3, 8]


class Plain:
    """Backprop on a small convolutional network. Subclasses override what their method adds.

    Args:
        learner: its run number `run` is followed, and its initial weights are copied.
    """

    def __init__(self, learner: Learner, run: int) -> None:
        self.learner, self.run, self.spec = learner, run, learner.spec
        self.params = {name: self.row(weight).requires_grad_(True) for name, weight in learner.params.items()}
        self.initial = {name: weight.detach().clone() for name, weight in self.params.items()}
        self.layers = [layer.name for layer in learner.net.layers]
        self.done = 0
        self.new_optimizer()

    def row(self, tensor: Tensor) -> Tensor:
        """Return a copy of this run's part of a tensor, in the usual memory layout."""
        return tensor.detach()[self.run].clone(memory_format=torch.contiguous_format)

    def new_optimizer(self) -> None:
        weights = list(self.params.values())
        if self.spec.opt == "adam":
            self.optimizer = torch.optim.Adam(weights, lr=self.spec.step_size, eps=self.spec.epsilon)
        else:
            self.optimizer = torch.optim.SGD(weights, lr=self.spec.step_size, momentum=self.spec.momentum)

    def outputs(self, images: Tensor) -> Tensor:
        return forward(self.params, images)

    def penalty(self) -> Tensor | float:
        return 0.0

    def gradient(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the gradient of the loss without the penalty."""
        loss = F.cross_entropy(self.outputs(images), labels)
        return dict(zip(self.params, torch.autograd.grad(loss, list(self.params.values())), strict=True))

    def start_task(self, index: int, images: Tensor, labels: Tensor) -> None:
        """Called without gradients after the outputs were reset."""

    def after_update(self) -> None:
        """Called without gradients; `done` already counts the step."""

    def measured(self) -> dict[str, Tensor]:
        return self.params

    @torch.no_grad()
    def begin(self, index: int, images: Tensor, labels: Tensor) -> None:
        if self.spec.new_heads:
            for kind in ("weight", "bias"):
                self.params[f"{self.layers[-1]}.{kind}"].zero_()
        self.start_task(index, images, labels)

    def step(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        (F.cross_entropy(self.outputs(images), labels) + self.penalty()).backward()
        self.optimizer.step()
        self.done += 1
        with torch.no_grad():
            self.after_update()


def forward(params: dict[str, Tensor], images: Tensor) -> Tensor:
    """Return the outputs of the small convolutional network."""
    x = images
    for name in ("conv1", "conv2", "conv3"):
        x = F.max_pool2d(F.relu(F.conv2d(x, params[f"{name}.weight"], params[f"{name}.bias"])), 2)
    x = x.flatten(1)
    for name in ("fc1", "fc2"):
        x = F.relu(F.linear(x, params[f"{name}.weight"], params[f"{name}.bias"]))
    return F.linear(x, params["fc3.weight"], params["fc3.bias"])


def assert_same(plain: type[Plain], settings: dict, tolerance: float = 1e-10) -> Learner:
    """Train two runs over three tasks in double precision, as a stack and with `plain`; compare all weights."""
    settings = {"network": "conv_net", "precision": "fp64", "momentum": 0.9} | settings
    if settings.get("opt") == "adam" or METHODS[settings["agent"]].has_own_update:
        del settings["momentum"]
    spec = make_spec(settings, num_tasks=NUM_TASKS, num_showings=1, train_images=2 * NUM_STEPS, mini_batch_size=BATCH)
    learner = Learner(spec, SEEDS, CPU)
    others = [plain(learner, run) for run in range(len(SEEDS))]
    for index in range(NUM_TASKS):
        task = task_of(SEEDS, index, NUM_STEPS * BATCH)
        images, labels = task.train_inputs.double(), task.train_targets
        learner.start_task(index, replace(task, train_inputs=images))
        learner.start_epoch(index, 0)
        for run, other in enumerate(others):
            other.begin(index, images[run], labels[run])
        assert learner.method.step == index * NUM_STEPS
        for x, y in zip(images.split(BATCH, 1), labels.split(BATCH, 1), strict=True):
            learner.step(x, y)
            for run, other in enumerate(others):
                other.step(x[run], y[run])
        learner.end_task(index)
        for run, other in enumerate(others):
            compare(learner.params, other.params, run, tolerance)
            compare(learner.evaluated(), other.measured(), run, tolerance)
    return learner


def compare(computed: dict[str, Tensor], expected: dict[str, Tensor], run: int, tolerance: float) -> None:
    for name, weight in expected.items():
        wrong = f"{name} of run {run}"
        torch.testing.assert_close(
            computed[name][run].detach(), weight.detach(), rtol=tolerance, atol=tolerance, msg=wrong
        )
