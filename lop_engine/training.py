"""THE training loop: task after task, epoch after epoch, a stack of seeds in step.

Dimensions: S seeds, N images of a task, B batch, C channels, H W image sides.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lop_engine import metrics
from lop_engine.cuda_graph import Step, fast_step
from lop_engine.datasets import ClassSequence, ImageSet, resolve, stack_images
from lop_engine.device import use_device
from lop_engine.learners import Learner
from lop_engine.nets import seed_generators
from lop_engine.spec import Spec
from lop_engine.streams import Stream, order

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
    metrics: Metrics | None
    """None for an epoch that is not recorded (`metrics_every`); without what is not due (`curvature_every`)."""
    task_seconds: float | None
    """Wall time of the task so far in this process; None before the task's last epoch."""
    position: Position


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
) -> None:
    """Train a stack of seeds from `start` to the end of the spec's last task.

    Args:
        report: called after every epoch; may raise to stop the training there.
    """
    first_epoch, step = start.epoch, fast_step(learner, device)
    for index, task in enumerate(tasks(spec, learner.seeds, images, device, start.task), start=start.task):
        began = time.perf_counter()
        if spec.new_heads and first_epoch == 0:
            learner.reset_head()
        for epoch in range(first_epoch, spec.num_showings):
            learner.start_epoch(index, epoch)
            order_SN = batch_order(learner.seeds, task.train_labels_SN.shape[1], index, epoch, device)
            batch_accuracies, loss_S = train_epoch(step, task, order_SN, spec.mini_batch_size)
            last = epoch + 1 == spec.num_showings
            measured = None
            if spec.metrics_after(epoch):
                measured = measure_epoch(spec, learner, task, order_SN, (index, epoch), batch_accuracies, loss_S)
            seconds = time.perf_counter() - began if last else None
            position = Position(index + 1, 0) if last else Position(index, epoch + 1)
            report(EpochReport(index, epoch, task.classes, measured, seconds, position))
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


def measure_epoch(
    spec: Spec,
    learner: Learner,
    task: Task,
    order_SN: Tensor,
    place: tuple[int, int],
    batch_accuracies: list[Tensor],
    loss_S: Tensor,
) -> Metrics:
    """The metrics that the spec records after epoch `place`; all NaN for a seed that has diverged."""
    rows_S1 = torch.arange(order_SN.shape[0], device=order_SN.device).unsqueeze(1)
    probe = metrics.Probe(
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
    values = metrics.measure(spec.metrics_after(place[1]), probe)
    sound_S = loss_S.isfinite() & metrics.weight_magnitude(learner.params).isfinite()
    # One transfer for all metrics: the only place where an epoch waits for the device.
    table = torch.stack([torch.where(sound_S, v, torch.nan) for v in values.values()]).cpu()
    return dict(zip(values, table.tolist(), strict=True))


def batch_order(seeds: Sequence[int], num_images: int, task: int, epoch: int, device: torch.device) -> Tensor:
    """The order of an epoch, a fresh permutation for every seed, (S, N) int64."""
    rows = [order(num_images, seed, Stream.BATCH_ORDER, task, epoch) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).to(device)


def tasks(spec: Spec, seeds: Sequence[int], images: ImageSet, device: torch.device, start: int = 0) -> Iterator[Task]:
    """The tasks from `start` on. The next one is read while the present one trains."""
    spec = resolve(spec, images)
    sequence = ClassSequence.open(spec, images.num_classes)

    def load(index: int) -> tuple[list[list[int]], Tensor]:
        classes = [sequence.classes(seed, index) for seed in seeds]
        stored = torch.from_numpy(stack_images(images, classes, spec.train_images + spec.test_images))
        return classes, stored.pin_memory() if device.type == "cuda" else stored

    with ThreadPoolExecutor(1, "next-task", use_device, (device,)) as pool:
        coming: Future[tuple[list[list[int]], Tensor]] = pool.submit(load, start)
        for index in range(start, spec.num_tasks):
            classes, stored = coming.result()
            if index + 1 < spec.num_tasks:
                coming = pool.submit(load, index + 1)
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
