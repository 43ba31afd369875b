"""Online Permuted MNIST: digits one by one, with a new order of pixels in every task.

Dimensions: S seeds, N examples of a part, M images, P pixels.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lop_engine.datasets import ImageSet, open_images
from lop_engine.datasets.digits import PIXELS, all_digits
from lop_engine.experiment.spec import Spec
from lop_engine.problems.losses import accuracy, cross_entropy
from lop_engine.problems.problem import Problem, Task
from lop_engine.streams import Stream, name_counter, order

_PIXELS, _IMAGES = name_counter("permuted_mnist pixels"), name_counter("permuted_mnist images")


class PermutedMnist(Problem):
    """Softmax cross-entropy and accuracy on ten classes; inputs are flat, grey levels from 0 to 1.

    The reference permutes pixels and images that the tasks before have permuted already. A uniform permutation of a
    permuted order is uniform, and independent of the orders before it, so each task draws its orders from (seed, task)
    alone: the same distribution, and a run that resumes replays no earlier task.

    The images are on the device once, as they are stored, and the inputs of a part are gathered from them.

    Args:
        images: by default those that the spec names, opened for the first task.
    """

    input_shape = (PIXELS,)
    num_outputs = 10
    shuffles = False

    def __init__(self, spec: Spec, images: ImageSet | None = None) -> None:
        super().__init__(spec)
        self._images = images

    def loss(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        return cross_entropy(outputs_SBO, targets_SB)

    def score(self, outputs_SBO: Tensor, targets_SB: Tensor) -> Tensor:
        return accuracy(outputs_SBO, targets_SB)

    def orders(self, seed: int, task: int, num_images: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the orders of pixels, (P,), and of images, (M,), of a task."""
        pixels = order(PIXELS, seed, Stream.COMPONENT, _PIXELS, task)
        return pixels, order(num_images, seed, Stream.COMPONENT, _IMAGES, task)

    def tasks(
        self, seeds: Sequence[int], device: torch.device, start: int = 0, dtype: torch.dtype = torch.float32
    ) -> Iterator[Task]:
        """Yield the tasks from `start` on, in parts. Raises DataError."""
        stored, labels = all_digits(self._images or open_images(self.spec, every_file=False))
        pixels_MP, labels_M = torch.from_numpy(stored).to(device), torch.from_numpy(labels).to(device)
        size, total = self.spec.examples_per_part, self.num_examples
        for index in range(start, self.spec.num_tasks):
            of_seeds = [self.orders(seed, index, len(stored)) for seed in seeds]
            pixels_SP = torch.from_numpy(np.stack([pixels for pixels, _ in of_seeds])).to(device)
            images_SM = np.stack([images.astype(np.int32) for _, images in of_seeds])

            def make_part(
                part: int, pixels_SP: Tensor = pixels_SP, images_SM: np.ndarray = images_SM
            ) -> tuple[Tensor, Tensor]:
                places = np.arange(part * size, min((part + 1) * size, total)) % images_SM.shape[1]
                images_SN = torch.from_numpy(images_SM[:, places]).to(device, torch.long)
                return _gathered(pixels_MP, images_SN, pixels_SP, dtype), labels_M[images_SN]

            inputs, targets = make_part(0)
            yield Task([{} for _ in seeds], inputs, targets, make_part=make_part)


def _gathered(pixels_MP: Tensor, images_SN: Tensor, pixels_SP: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the images of each seed in its order of pixels, (S, N, P); uint8 becomes 0 .. 1."""
    rows_SNP = pixels_MP[images_SN]
    permuted_SNP = rows_SNP.gather(2, pixels_SP[:, None].expand_as(rows_SNP))
    inputs_SNP = permuted_SNP.to(dtype)
    return inputs_SNP.div_(255) if pixels_MP.dtype == torch.uint8 else inputs_SNP
