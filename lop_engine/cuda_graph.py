"""A training step recorded once as a CUDA graph, and then launched whole.

A step of the small network is some hundreds of short kernels; launched one by one from Python they leave a GPU waiting.
The random numbers of a step are drawn before it, each seed's from its own generator, and are no part of the graph.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lop_engine.learners import Learner, StepResult

Step = Callable[[Tensor, Tensor], StepResult]
"""Train on a batch: images (S, B, C, H, W), labels (S, B)."""

WARM_UP_STEPS = 3
"""Before a capture: libraries choose their algorithms, and allocate, in the first steps."""


def fast_step(learner: Learner, device: torch.device) -> Step:
    """The learner's step, as fast as the device allows."""
    return CudaGraphStep(learner) if device.type == "cuda" else learner.step


@dataclass(frozen=True)
class _Capture:
    """A graph, and the tensors it reads and writes: always the same."""

    graph: torch.cuda.CUDAGraph
    images_SBCHW: Tensor
    labels_SB: Tensor
    result: StepResult


class CudaGraphStep:
    """`Learner.step` from CUDA graphs, one for each batch size (an epoch's last batch may be short).

    Where a step cannot be captured a warning says so, and it is trained kernel by kernel: slower, with equal results.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._captures: dict[torch.Size, _Capture] = {}
        self._can_capture = True

    def __call__(self, images_SBCHW: Tensor, labels_SB: Tensor) -> StepResult:
        if labels_SB.shape not in self._captures and self._can_capture:
            self._try_capture(images_SBCHW, labels_SB)
        capture = self._captures.get(labels_SB.shape)
        if capture is None:
            return self.learner.step(images_SBCHW, labels_SB)
        capture.images_SBCHW.copy_(images_SBCHW)
        capture.labels_SB.copy_(labels_SB)
        self.learner.mechanism.draw()
        capture.graph.replay()
        return StepResult(capture.result.loss_S.clone(), capture.result.accuracy_S.clone())

    def _try_capture(self, images_SBCHW: Tensor, labels_SB: Tensor) -> None:
        kept = {name: tensor.clone() for name, tensor in self.learner.state().items()}
        try:
            self._captures[labels_SB.shape] = self._capture(images_SBCHW.clone(), labels_SB.clone())
        except RuntimeError as error:
            self._can_capture = False
            warnings.warn(f"training without CUDA graphs, which is slower: {error}", stacklevel=2)
        self.learner.load_state(kept)

    def _capture(self, images_SBCHW: Tensor, labels_SB: Tensor) -> _Capture:
        """Record `Learner.learn`, after some steps for warming up, whose effect the caller undoes."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self.learner.learn(images_SBCHW, labels_SB)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Another thread reads the next task meanwhile, and pins its memory: no concern of this capture.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = self.learner.learn(images_SBCHW, labels_SB)
        return _Capture(graph, images_SBCHW, labels_SB, result)
