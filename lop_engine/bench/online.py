"""Times online problems: a stack of runs over a task, and a plain loop for a single run."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lop_engine.bench.measure import PLAIN_EXAMPLES
from lop_engine.experiment.spec import Spec
from lop_engine.problems import build_problem
from lop_engine.runs.records import task_document
from lop_engine.runs.store import TableWriter
from lop_engine.training.learner import Learner
from lop_engine.training.loop import EpochReport, train


class PlainLearner:
    """One run, written without lop: an example at a time, and continual backprop layer by layer after each."""

    def __init__(self, spec: Spec, device: torch.device) -> None:
        problem = build_problem(spec)
        (inputs,), outputs = problem.input_shape, problem.num_outputs
        sizes = [inputs, *[int(spec.num_features)] * int(spec.num_hidden_layers), outputs]
        self.layers = [nn.Linear(*pair, device=device) for pair in itertools.pairwise(sizes)]
        weights = [weight for layer in self.layers for weight in layer.parameters()]
        self.optimizer = torch.optim.SGD(weights, lr=float(spec.step_size))
        self.loss: Callable[..., Tensor] = F.mse_loss if outputs == 1 else F.cross_entropy
        self.losses: list[float] = []
        self.cbp = spec if spec.method == "cbp" else None
        units = sizes[1:-1]
        self.age, self.utility, self.mean = ([torch.zeros(count, device=device) for count in units] for _ in range(3))
        self.budget = [0.0] * len(units)

    def __call__(self, x: Tensor, y: Tensor) -> None:
        """Train on one example."""
        hidden = []
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
            hidden.append(x)
        loss = self.loss(self.layers[-1](x), y)
        self.losses.append(loss.item())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.cbp:
            with torch.no_grad():
                self._generate_and_test(self.cbp, hidden)

    def _generate_and_test(self, spec: Spec, hidden: Sequence[Tensor]) -> None:
        decay, rate, maturity = (float(getattr(spec, key)) for key in _CBP)
        for index, activation in enumerate(hidden):
            layer, above = self.layers[index], self.layers[index + 1]
            age, utility, mean = self.age[index], self.utility[index], self.mean[index]
            age += 1
            correction = 1 - decay**age
            mean.lerp_(activation, 1 - decay)
            distance = (activation - mean / correction).abs()
            new = above.weight.abs().mean(0) * distance / layer.weight.abs().mean(1)
            utility.lerp_(new, 1 - decay)
            eligible = torch.where(age > maturity)[0]
            if not len(eligible):
                continue
            self.budget[index] += rate * len(eligible)
            due = int(self.budget[index])
            if due:
                self.budget[index] -= due
                units = eligible[(-(utility / correction)[eligible]).topk(due).indices]
                layer.weight[units] = layer.weight.new_empty(due, layer.in_features).uniform_(-0.5, 0.5)
                layer.bias[units], above.weight[:, units] = 0, 0
                age[units], utility[units], mean[units] = 0, 0, 0


_CBP = ("decay_rate", "replacement_rate", "maturity_threshold")


def plain_loop(spec: Spec, device: torch.device) -> Callable[[], object]:
    """Return a function that trains one plain run on `PLAIN_EXAMPLES` examples of the problem."""
    learner, task = PlainLearner(spec, device), next(build_problem(spec).tasks([0], device)).part(0)
    inputs, targets = task.train_inputs[0, :PLAIN_EXAMPLES].flatten(1), task.train_targets[0, :PLAIN_EXAMPLES]

    def call() -> None:
        for x, y in zip(inputs, targets, strict=True):
            learner(x, y)

    return call


def task_of_stack(spec: Spec, seeds: Sequence[int], device: torch.device, folder: Path) -> Callable[[], object]:
    """Return a function that trains a stack on a task like a worker: inputs, steps, metrics, and records.

    A worker also writes checkpoints, which take at most 1 % of its time.

    Args:
        folder: an empty folder for the records.
    """
    learner, tasks = Learner(spec, seeds, device), itertools.count()
    tables = [TableWriter(folder / f"{seed}.json", "tasks") for seed in seeds]

    def record(report: EpochReport) -> None:
        if report.task_seconds is None or report.metrics is None:
            return  # a part of the task
        task = next(tasks)
        for index, table in enumerate(tables):
            metrics = {name: values[index] for name, values in report.metrics.items()}
            table.append(task_document(task, report.facts[index], report.task_seconds, metrics))

    return lambda: train(spec, learner, device, record)
