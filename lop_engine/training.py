"""THE training loop: task after task, epoch after epoch, a stack of seeds in step.

Dimensions: S seeds, N images of a task, B batch, C channels, H W image sides.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lop_engine.background import made_ahead, works_beside
from lop_engine.cuda_graph import Step, fast_step
from lop_engine.datasets import ClassSequence, ImageSet, resolve, stack_images
from lop_engine.learners import Learner
from lop_engine.metrics import Measurement, Probe, weight_magnitude
from lop_engine.nets import seed_generators
from lop_engine.spec import Spec
from lop_engine.streams import Stream, order
from lop_engine.transfers import pinned

Metrics = dict[str, list[float]]
"""One value a seed, by metric name."""


@dataclass(frozen=True, order=True)
class Position:
    """Where training stands: `epoch` epochs of task `task` are done. The end of a task is (task + 1, 0)."""

    task: int = 0
    epoch: int = 0


@dataclass(frozen=True)
class EpochReport:
    """What the loop says after an epoch."""

    task: int
    epoch: int
    classes: list[list[int]]
    """The task's classes, a list a seed."""
    measurement: Measurement | None
    """None for an epoch that is not recorded (`metrics_every`); omits metrics that are not due (`curvature_every`)."""
    task_seconds: float | None
    """Wall time of the task so far in this process; None before the task's last epoch."""
    position: Position

    @cached_property
    def metrics(self) -> Metrics | None:
        """The metrics of a recorded epoch. The first call waits for the device."""
        return _as_lists(self.measurement) if self.measurement else None


@dataclass(frozen=True)
class Task:
    """A task of every seed, on the device; images channels-last in memory."""

    classes: list[list[int]]
    train_SNCHW: Tensor
    train_labels_SN: Tensor
    test_SNCHW: Tensor
    test_labels_SN: Tensor


def train(
    spec: Spec,
    learner: Learner,
    images: ImageSet,
    device: torch.device,
    report: Callable[[EpochReport], None],
    start: Position = Position(),
    cuda_graphs: bool = True,
) -> None:
    """Train a stack of seeds from `start` to the end of the spec's last task.

    Args:
        report: called after every epoch; may raise to stop the training there.
        cuda_graphs: on a GPU, launch each step as a CUDA graph.
    Raises:
        CaptureError, ReplayError: the step does not work as a CUDA graph here.
    """
    first_epoch, step = start.epoch, fast_step(learner, device, cuda_graphs)
    num_images = spec.num_classes * (spec.train_images or images.split.train)
    orders = batch_orders(learner.seeds, num_images, places(spec, start), device)
    for index, task in enumerate(tasks(spec, learner.seeds, images, device, start.task), start=start.task):
        began = time.perf_counter()
        if spec.new_heads and first_epoch == 0:
            learner.reset_head()
        for epoch in range(first_epoch, spec.num_showings):
            learner.start_epoch(index, epoch)
            order_SN = next(orders)
            batch_accuracies, loss_S = train_epoch(step, task, order_SN, spec.mini_batch_size)
            last = epoch + 1 == spec.num_showings
            measurement = None
            if spec.metrics_after(epoch):
                measurement = start_measuring(spec, learner, task, order_SN, (index, epoch), batch_accuracies, loss_S)
            seconds = time.perf_counter() - began if last else None
            position = Position(index + 1, 0) if last else Position(index, epoch + 1)
            report(EpochReport(index, epoch, task.classes, measurement, seconds, position))
        first_epoch = 0


def train_epoch(step: Step, task: Task, order_SN: Tensor, batch_size: int) -> tuple[list[Tensor], Tensor]:
    """One pass over the task's training set; return each step's batch accuracy before its update, and the mean loss."""
    rows_S1 = torch.arange(order_SN.shape[0], device=order_SN.device).unsqueeze(1)
    accuracies, losses = [], []
    for index_SB in order_SN.split(batch_size, dim=1):
        result = step(task.train_SNCHW[rows_S1, index_SB], task.train_labels_SN[rows_S1, index_SB])
        accuracies.append(result.accuracy_S)
        losses.append(result.loss_S)
    return accuracies, torch.stack(losses).mean(0)


def start_measuring(
    spec: Spec,
    learner: Learner,
    task: Task,
    order_SN: Tensor,
    place: tuple[int, int],
    batch_accuracies: list[Tensor],
    loss_S: Tensor,
) -> Measurement:
    """The metrics that the spec records after epoch `place`, of the current networks; all NaN for a diverged seed.

    Does not wait for a GPU: training may continue meanwhile.
    """
    rows_S1 = torch.arange(order_SN.shape[0], device=order_SN.device).unsqueeze(1)
    probe = Probe(
        learner.net,
        {name: weight.detach() for name, weight in learner.params.items()},
        batch_accuracies,
        task.train_SNCHW[rows_S1, order_SN],
        task.train_labels_SN[rows_S1, order_SN],
        task.test_SNCHW,
        task.test_labels_SN,
        spec.mini_batch_size,
        spec.curvature_images,
        seed_generators(learner.seeds, Stream.CURVATURE, *place, device=order_SN.device),
    )
    sound_S = loss_S.isfinite() & weight_magnitude(learner.params).isfinite()
    return Measurement(spec.metrics_after(place[1]), probe, sound_S)


def measure_epoch(
    spec: Spec,
    learner: Learner,
    task: Task,
    order_SN: Tensor,
    place: tuple[int, int],
    batch_accuracies: list[Tensor],
    loss_S: Tensor,
) -> Metrics:
    """Wait for the result of `start_measuring` and return it."""
    return _as_lists(start_measuring(spec, learner, task, order_SN, place, batch_accuracies, loss_S))


def _as_lists(measurement: Measurement) -> Metrics:
    return {name: values_S.tolist() for name, values_S in measurement.result().items()}


def places(spec: Spec, start: Position) -> Iterator[tuple[int, int]]:
    """(task, epoch) of every epoch from `start` on."""
    for task in range(start.task, spec.num_tasks):
        for epoch in range(start.epoch if task == start.task else 0, spec.num_showings):
            yield task, epoch


def batch_orders(
    seeds: Sequence[int], num_images: int, epochs: Iterable[tuple[int, int]], device: torch.device
) -> Iterator[Tensor]:
    """The order of each of `epochs` (task, epoch) on the device, (S, N) int64. On a GPU a thread makes the next."""

    def make(epoch: tuple[int, int]) -> Tensor:
        return pinned(_batch_order(seeds, num_images, *epoch), device)

    made = made_ahead(make, epochs, device, "next-order") if works_beside(device) else map(make, epochs)
    return (order_SN.to(device, non_blocking=True) for order_SN in made)


def batch_order(seeds: Sequence[int], num_images: int, task: int, epoch: int, device: torch.device) -> Tensor:
    """The order of an epoch, a fresh permutation for every seed, (S, N) int64."""
    return _batch_order(seeds, num_images, task, epoch).to(device)


def _batch_order(seeds: Sequence[int], num_images: int, task: int, epoch: int) -> Tensor:
    return torch.from_numpy(np.stack([order(num_images, seed, Stream.BATCH_ORDER, task, epoch) for seed in seeds]))


def tasks(spec: Spec, seeds: Sequence[int], images: ImageSet, device: torch.device, start: int = 0) -> Iterator[Task]:
    """The tasks from `start` on. The next one is read while the present one trains."""
    spec = resolve(spec, images)
    sequence = ClassSequence.open(spec, images.num_classes)

    def load(index: int) -> tuple[list[list[int]], Tensor]:
        classes = [sequence.classes(seed, index) for seed in seeds]
        stored = torch.from_numpy(stack_images(images, classes, spec.train_images + spec.test_images))
        return classes, pinned(stored, device)

    for classes, stored in made_ahead(load, range(start, spec.num_tasks), device, "next-task"):
        yield _task(spec, classes, stored.to(device, non_blocking=True))


def _task(spec: Spec, classes: list[list[int]], stored_SKNCHW: Tensor) -> Task:
    """A task from its images as stored, already on the device: K classes of N images, in blocks by class."""
    seen_SKNHWC = stored_SKNCHW.permute(0, 1, 2, 4, 5, 3).to(torch.float32, memory_format=torch.contiguous_format)
    if spec.normalisation == "scaled":
        seen_SKNHWC.mul_(2 / 255).sub_(1)

    def part(images_SKNHWC: Tensor) -> tuple[Tensor, Tensor]:
        num_seeds, num_classes, num_images = images_SKNHWC.shape[:3]
        labels_N = torch.arange(num_classes, device=images_SKNHWC.device).repeat_interleave(num_images)
        return images_SKNHWC.flatten(1, 2).permute(0, 1, 4, 2, 3), labels_N.repeat(num_seeds, 1)

    train, test = seen_SKNHWC.split([spec.train_images, spec.test_images], dim=2)
    return Task(classes, *part(train), *part(test))
