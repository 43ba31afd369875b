"""A training step captured once as a CUDA graph, and then launched whole.

A step of the small network is some hundreds of short kernels; launched one by one from Python they leave a GPU waiting.
The random numbers of a step are drawn before it, each seed's from its own generator, and are no part of the graph.

A graph that misses kernels trains something else without an error, so the first replay of each graph is compared with
the same step launched kernel by kernel.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lop_engine.errors import CaptureError, ReplayError, memory_error
from lop_engine.learners import Learner, StepResult
from lop_engine.spec import Precision

Step = Callable[[Tensor, Tensor], StepResult]
"""Train on a batch: images (S, B, C, H, W), labels (S, B)."""

State = dict[str, Tensor]

WARM_UP_STEPS = 3
"""Before a capture: libraries choose their algorithms, and allocate, in the first steps."""

TOLERANCE: dict[Precision, float] = {"fp32": 0.05, "tf32": 0.5, "bf16": 0.5}
"""How far a tensor's change in a replayed step may be from its change in the eager step, as a share of the latter.

Both launch the same kernels, so equal bits are expected. But cuDNN and cuBLAS do not promise the same algorithm in a
capture, and another algorithm rounds differently. Where gradients nearly cancel that shows: images that differ by 1e-6
of themselves move a bias's change by about 1 % in fp32, and by a third in bf16 (`tests/engine/test_cuda_graph.py` tries
this with every method). A missing kernel changes it by 100 %. The norm is that of a seed's whole tensor, because Adam
turns the rounding of single tiny gradients into steps of full size.
"""

ROUNDING = 2.0**-23
"""Allowed besides, as a share of the tensor itself: one unit in the last place of a float32."""

_UNWRITTEN = -1.0
"""In place of a result before the first replay: no loss and no accuracy is negative, whatever the weights are."""


def fast_step(learner: Learner, device: torch.device, cuda_graphs: bool = True) -> Step:
    """The learner's step, as fast as the device allows."""
    return CudaGraphStep(learner) if device.type == "cuda" and cuda_graphs else learner.step


@dataclass(frozen=True)
class _Captured:
    """A graph, and the tensors it reads and writes: always the same."""

    graph: torch.cuda.CUDAGraph
    images_SBCHW: Tensor
    labels_SB: Tensor
    result: StepResult


class CudaGraphStep:
    """`Learner.step` from CUDA graphs, one for each batch size (an epoch's last batch may be short).

    The current CUDA device must be the learner's (`device.use_device`).

    Raises, when called with a batch size for the first time:
        CaptureError: the step cannot be captured. torch's allocator is not usable afterwards: end the process.
        ReplayError: the graph does not compute what the step does.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._captured: dict[torch.Size, _Captured] = {}

    def __call__(self, images_SBCHW: Tensor, labels_SB: Tensor) -> StepResult:
        new = labels_SB.shape not in self._captured
        if new:
            self._captured[labels_SB.shape] = self._capture(images_SBCHW.clone(), labels_SB.clone())
        captured = self._captured[labels_SB.shape]
        captured.images_SBCHW.copy_(images_SBCHW)
        captured.labels_SB.copy_(labels_SB)
        # After a capture, too: a graph that holds on to the numbers drawn before it is found out by the comparison.
        self.learner.mechanism.draw()
        if new:
            self._replay_and_compare(captured)
        else:
            captured.graph.replay()
        return StepResult(captured.result.loss_S.clone(), captured.result.accuracy_S.clone())

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        """For warm-up and capture: cuBLAS and cuDNN keep a workspace for each stream they have been used on."""
        return torch.cuda.Stream()

    def _capture(self, images_SBCHW: Tensor, labels_SB: Tensor) -> _Captured:
        """Capture `Learner.learn` after some steps for warming up; the learner's state is the same afterwards."""
        before = self._copy_state()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_STEPS):
                self.learner.learn(images_SBCHW, labels_SB)
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: another thread pins the next task's memory meanwhile, which must not end this capture.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                result = self.learner.learn(images_SBCHW, labels_SB)
        except RuntimeError as error:
            if memory_error(error):
                raise
            first = error.__context__ or error  # the end of a capture that failed raises another error
            raise CaptureError(f"the training step cannot be captured as a CUDA graph: {first}") from error
        self.learner.load_state(before)
        return _Captured(graph, images_SBCHW, labels_SB, result)

    def _replay_and_compare(self, captured: _Captured) -> None:
        """Replay one step, and compare it with the same step launched kernel by kernel. Raises ReplayError."""
        before = self._copy_state()
        result = self.learner.learn(captured.images_SBCHW, captured.labels_SB)
        eager = self._copy_state()
        self.learner.load_state(before)
        for unwritten_S in vars(captured.result).values():
            unwritten_S.fill_(_UNWRITTEN)
        captured.graph.replay()
        if (captured.result.accuracy_S == _UNWRITTEN).any():
            raise ReplayError(
                "the CUDA graph of the training step is empty: it was captured on another GPU or stream than the step "
                f"ran on; {_ADVICE}"
            )
        # Next to 1, because the logarithm of a softmax rounds as numbers of that size do.
        before["loss"], eager["loss"] = torch.ones_like(result.loss_S), result.loss_S
        replayed = self.learner.state() | {"loss": captured.result.loss_S}
        for name, seed in _differences(before, eager, replayed, TOLERANCE[self.learner.precision]):
            raise ReplayError(
                f"the CUDA graph of the training step computes something else than the step itself ({name} of seed "
                f"{self.learner.seeds[seed]}, batch of {captured.labels_SB.shape[1]}); {_ADVICE}"
            )

    def _copy_state(self) -> State:
        return {name: tensor.clone() for name, tensor in self.learner.state().items()}


_ADVICE = "no result of it was recorded; train with --device cpu, or with another version of torch or of the GPU driver"


def _differences(before: State, eager: State, replayed: State, tolerance: float) -> Iterator[tuple[str, int]]:
    """Tensors, and rows of them, that a replayed step changed in another way than the eager one.

    A seed that the eager step itself makes infinite or NaN has diverged, and is not compared.
    """
    for name, tensor in before.items():
        rows = tensor.reshape(len(tensor), -1)
        change, other = eager[name].reshape(rows.shape) - rows, replayed[name].reshape(rows.shape) - rows
        size_S, allowed_S = _norm(change), tolerance * _norm(change) + ROUNDING * _norm(rows)
        wrong_S = size_S.isfinite() & ~(_norm(other - change) <= allowed_S)  # NaN is wrong
        for seed in wrong_S.nonzero()[:, 0].tolist():
            yield name, seed


def _norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
