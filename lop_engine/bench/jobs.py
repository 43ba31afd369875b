"""Jobs that can be timed, by name: repeated parts of a run, and a plain training loop for comparison."""

import itertools
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lop_engine.bench import online
from lop_engine.device.background import Background
from lop_engine.experiment.spec import Spec
from lop_engine.networks import Layer, Network, build_network
from lop_engine.problems import Problem, Task, build_problem
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import epoch_document
from lop_engine.runs.store import TableWriter
from lop_engine.training.cuda_graph import fast_step
from lop_engine.training.learner import Learner
from lop_engine.training.loop import Position, batch_order, batch_orders, start_measuring, train_epoch
from lop_engine.training.record import EpochSteps
from lop_engine.worker import checkpoint
from lop_engine.worker.checkpoint import Checkpoint

NUM_DIRECTIONS = 10
STEP = 1e-3


class PlainConvNet(nn.Module):
    """The paper's network, written without lop."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 32, 5), nn.Conv2d(32, 64, 3), nn.Conv2d(64, 128, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(512, 128), nn.Linear(128, 128), nn.Linear(128, 2)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


class PlainStep:
    """One training step of one seed."""

    def __init__(self, device: torch.device) -> None:
        self.net = PlainConvNet().to(device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9)

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.net(images), labels).backward()
        self.optimizer.step()


class PlainCurvature:
    """The curvature of one batch: for each direction the gradients at both ends, in 20 passes."""

    def __init__(self, device: torch.device) -> None:
        self.net = PlainConvNet().to(device)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        norms = []
        for _ in range(NUM_DIRECTIONS):
            direction = torch.randint(0, 2, images.shape, device=images.device) * 2.0 - 1
            change = self._gradient(images + STEP * direction, labels) - self._gradient(images, labels)
            norms.append(change.flatten(1).norm(dim=1))
        return torch.cat(norms).mean()

    def _gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        leaf = images.clone().requires_grad_(True)
        return torch.autograd.grad(F.cross_entropy(self.net(leaf), labels), leaf)[0]


Call = Callable[[], object]


class Jobs:
    """Makes jobs for a stack of `num_seeds` seeds of an experiment; `ends` closes what they open."""

    def __init__(self, spec: Spec, num_seeds: int, device: torch.device, ends: ExitStack) -> None:
        self.spec, self.seeds, self.device = spec, list(range(num_seeds)), device
        self._ends = ends

    def make(self, name: str) -> Call:
        """Return the job of a name, made by one of the methods below."""
        made: Call = getattr(self, name.replace(" ", "_"))()
        return made

    def matrix_product(self) -> Call:
        side = matrix_side(self.device)
        a, b = (torch.randn(side, side, device=self.device) for _ in range(2))
        return lambda: a @ b

    def plain_step(self) -> Call:
        step, batch = PlainStep(self.device), self._batch()
        return lambda: step(*(part[0].contiguous() for part in batch))

    def plain_curvature(self) -> Call:
        measure, batch = PlainCurvature(self.device), self._batch()
        return lambda: measure(*(part[0].contiguous() for part in batch))

    def plain_loop(self) -> Call:
        """Train one run on examples of an online problem with a plain loop."""
        return online.plain_loop(self.spec, self.device)

    def task_of_stack(self) -> Call:
        """Train a task of an online problem, with its records."""
        return online.task_of_stack(self.spec, self.seeds, self.device, self._directory())

    def step(self) -> Call:
        """Take a training step."""
        learner = Learner(self.spec, self.seeds, self.device)
        learner.start_epoch(0, 0)
        step, batch = fast_step(learner, self.device), self._batch()
        return lambda: step(*batch)

    def epoch(self) -> Call:
        """Train an epoch, including the order of its batches."""
        learner = Learner(self.spec, self.seeds, self.device)
        step, task, epochs = fast_step(learner, self.device), self._task(), itertools.count()
        places = ((0, epoch) for epoch in itertools.count())
        orders = batch_orders(self.seeds, task.train_targets.shape[1], places, self.device)

        def train() -> None:
            learner.start_epoch(0, next(epochs))
            train_epoch(step, task, next(orders), self.spec.mini_batch_size)

        return train

    def metrics(self) -> Call:
        """Measure all metrics of the spec, after an epoch; on a GPU finished during the next call, as in a run."""
        spec = self.spec.with_changes(**{"metrics_every": 1, "curvature_every": 1})
        learner, task = Learner(self.spec, self.seeds, self.device), self._task()
        order_SN = batch_order(self.seeds, task.train_targets.shape[1], 0, 0, self.device)
        zeros_S = torch.zeros(len(self.seeds), device=self.device)
        finishing = self._ends.enter_context(Background(self.device, "metrics"))

        def measure() -> None:
            measurement = start_measuring(spec, learner, task, order_SN, (0, 0), EpochSteps([zeros_S], [zeros_S]))
            finishing.submit(measurement.result)

        return measure

    def switch(self) -> Call:
        """Load a task's examples onto the device, without preparing them ahead as a run does."""
        places = itertools.count()

        def load() -> None:
            place = next(places)
            # The last task of its run, because otherwise the next one would be read as well.
            problem = build_problem(self.spec.with_changes(num_tasks=place + 1))
            next(problem.tasks(self.seeds, self.device, place))

        return load

    def checkpoint(self) -> Call:
        """Write one seed's checkpoint."""
        run_dir = RunDir(self._directory())
        state = Learner(self.spec, self.seeds, self.device).state()

        def save() -> None:
            tensors = {name: part[0] for name, part in checkpoint.on_host(state).items()}
            checkpoint.save(run_dir, Checkpoint(Position(), 0, 0, tensors))

        return save

    def append(self) -> Call:
        """Append one epoch's document to a file of 100,000."""
        document = epoch_document(4999, 249, dict.fromkeys(self.spec.metrics, 0.123456))
        writer = self._ends.enter_context(TableWriter(self._directory() / "epochs.json", "epochs"))
        writer.extend([document] * 100_000)
        return lambda: writer.append(document)

    def _directory(self) -> Path:
        return Path(self._ends.enter_context(tempfile.TemporaryDirectory(prefix="lop-bench-")))

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Return the first batch of a task, made like in training."""
        task = self._task()
        rows_S1 = torch.arange(len(self.seeds), device=self.device).unsqueeze(1)
        first_SB = torch.arange(self.spec.mini_batch_size, device=self.device).expand(len(self.seeds), -1)
        first_SB = first_SB % task.train_targets.shape[1]
        return task.train_inputs[rows_S1, first_SB], task.train_targets[rows_S1, first_SB]

    def _task(self) -> Task:
        return next(build_problem(self.spec).tasks(self.seeds, self.device))


def matrix_side(device: torch.device) -> int:
    """Return the side of square matrices whose product shows the device's speed."""
    return 8192 if device.type == "cuda" else 1024


def step_gflop(spec: Spec) -> float:
    """Return the arithmetic of one seed's training step in 1e9: forward, and backward except the image's gradient."""
    net, macs = _network(spec), 0
    for index, (layer, side) in enumerate(zip(net.layers, _sides(spec, net), strict=True)):
        passes = 2 if index == 0 else 3
        macs += passes * side * side * layer.outputs * layer.fan_in
    return 2 * spec.mini_batch_size * macs / 1e9


def curvature_gflop(spec: Spec, num_images: int) -> float:
    """Return the arithmetic of the curvature on some images of one seed, in 1e9: 11 times forward and back."""
    net = _network(spec)
    sides = _sides(spec, net)
    macs = sum(side * side * layer.outputs * layer.fan_in for layer, side in zip(net.layers, sides, strict=True))
    return 2 * 11 * 2 * num_images * macs / 1e9


def _network(spec: Spec) -> Network:
    problem: Problem = build_problem(spec)
    return build_network(spec, problem.input_shape, problem.num_outputs)


def _sides(spec: Spec, net: Network) -> list[int]:
    """Return the side of each layer's output before pooling; 1 for a linear layer."""
    sides, side = [], build_problem(spec).input_shape[-1]
    for layer in net.layers:
        sides.append(_output_side(layer, side))
        side = sides[-1] // 2
    return sides


def _output_side(layer: Layer, side: int) -> int:
    return side - layer.kernel + 1 if layer.kernel else 1
