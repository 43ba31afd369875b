"""Continual ImageNet: classify a few classes, then the next few.

Dimensions: S seeds, K classes of a task, N images, C channels, H W image sides.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lop_engine.datasets import ClassSequence, ImageSet, open_images, resolve, stack_images
from lop_engine.datasets.base import IMAGE_SHAPE
from lop_engine.device.background import made_ahead
from lop_engine.device.transfers import pinned
from lop_engine.experiment.spec import Spec
from lop_engine.problems.losses import accuracy, cross_entropy
from lop_engine.problems.problem import Problem, Task


class ContinualImageNet(Problem):
    """Softmax cross-entropy and accuracy on tasks of `num_classes` classes; images channels-last in memory.

    Args:
        images: by default those that the spec names, opened for the first task.
    """

    input_shape = IMAGE_SHAPE

    def __init__(self, spec: Spec, images: ImageSet | None = None) -> None:
        super().__init__(spec)
        self.num_outputs, self._images = spec.num_classes, images

    @property
    def images(self) -> ImageSet:
        """Open the images. Raises DataError."""
        if self._images is None:
            self._images = open_images(self.spec, every_file=False)
        return self._images

    @property
    def num_examples(self) -> int:
        return self.num_outputs * (self.spec.train_images or self.images.split.train)

    def loss(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        return cross_entropy(outputs_SBO, targets_SB)

    def score(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        return accuracy(outputs_SBO, targets_SB)

    def reset_outputs(self, task: int) -> slice | None:
        return slice(None) if self.spec.new_heads else None

    def tasks(
        self, seeds: Sequence[int], device: torch.device, start: int = 0, dtype: torch.dtype = torch.float32
    ) -> Iterator[Task]:
        """Yield the tasks from `start` on. The next one is read while the current one trains."""
        spec = resolve(self.spec, self.images)
        sequence = ClassSequence.open(spec, self.images.num_classes)

        def read(index: int) -> tuple[list[list[int]], Tensor]:
            classes = [sequence.classes(seed, index) for seed in seeds]
            stored = torch.from_numpy(stack_images(self.images, classes, spec.train_images + spec.test_images))
            return classes, pinned(stored, device)

        for classes, stored in made_ahead(read, range(start, spec.num_tasks), device, "next-task"):
            yield make_task(spec, classes, stored.to(device, non_blocking=True), dtype)


def make_task(spec: Spec, classes: list[list[int]], stored_SKNCHW: Tensor, dtype: torch.dtype) -> Task:
    """Make a task from its images as stored, already on the device: K classes of N images, in blocks by class."""
    seen_SKNHWC = stored_SKNCHW.permute(0, 1, 2, 4, 5, 3).to(dtype, memory_format=torch.contiguous_format)
    if spec.normalisation == "scaled":
        seen_SKNHWC.mul_(2 / 255).sub_(1)

    def part(images_SKNHWC: Tensor) -> tuple[Tensor, Tensor]:
        num_seeds, num_classes, num_images = images_SKNHWC.shape[:3]
        labels_N = torch.arange(num_classes, device=images_SKNHWC.device).repeat_interleave(num_images)
        return images_SKNHWC.flatten(1, 2).permute(0, 1, 4, 2, 3), labels_N.repeat(num_seeds, 1)

    train, test = seen_SKNHWC.split([spec.train_images, spec.test_images], dim=2)
    return Task([{"classes": one} for one in classes], *part(train), *part(test))
