"""A training step that is captured as a CUDA graph and then launched as a whole.

A step of the small network consists of hundreds of short kernels. Launched one by one from Python, they leave the GPU
idle. The random numbers of a step are drawn before it, outside the graph, from each seed's generator.

A graph that lacks kernels trains wrongly without an error, so the first replay of each graph is compared with the eager
step, which is launched kernel by kernel.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lop_engine.errors import CaptureError, ReplayError, memory_error
from lop_engine.experiment.parts import Precision
from lop_engine.training.learner import Learner, StepResult

Step = Callable[[Tensor, Tensor], StepResult]
"""Train on a batch: inputs (S, B, ...), targets (S, B, ...)."""

State = dict[str, Tensor]

WARM_UP_STEPS = 3
"""Steps before a capture, in which libraries select their algorithms and allocate memory."""

TOLERANCE: dict[Precision, float] = {"fp32": 0.05, "tf32": 0.5, "bf16": 0.5, "fp64": 0.05}
"""Largest deviation of a tensor's change in a replayed step, as a fraction of its change in the eager step.

Both launch the same kernels, so equal bits are expected. But cuDNN and cuBLAS do not promise the same algorithm in a
capture, and another algorithm rounds differently. The difference shows where gradients nearly cancel: a relative change
of 1e-6 in the images alters a bias's change by about 1 % in fp32, and by a third in bf16
(`tests/engine/test_cuda_graph.py` tries this with every method). A missing kernel alters it by 100 %. The norm is taken
over a seed's whole tensor, because Adam turns the rounding of single tiny gradients into steps of full size.
"""

ROUNDING = 2.0**-23
"""Additional tolerance, as a fraction of the tensor: one unit in the last place of a float32."""

_UNWRITTEN = -12345.0
"""Placeholder for a result before the first replay; losses and scores never have this value."""


def fast_step(learner: Learner, device: torch.device, cuda_graphs: bool = True) -> Step:
    """Return the learner's step, as fast as the device allows."""
    return CudaGraphStep(learner) if device.type == "cuda" and cuda_graphs else learner.step


@dataclass(frozen=True)
class _StepGraph:
    """A graph, and the fixed tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    targets: Tensor
    result: StepResult


class CudaGraphStep:
    """Runs `Learner.step` as CUDA graphs, one for each batch size (an epoch's last batch may be short)
    and each variant of the method's step.

    The current CUDA device must be the learner's (`device.use_device`).

    Raises, when called with a batch size for the first time:
        CaptureError: the step cannot be captured. torch's allocator is not usable afterwards: end the process.
        ReplayError: the graph does not compute what the step does.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.graphs: dict[Hashable, _StepGraph] = {}

    def __call__(self, inputs: Tensor, targets: Tensor) -> StepResult:
        kind = (targets.shape, self.learner.method.variant)
        new = kind not in self.graphs
        if new:
            self.graphs[kind] = self.capture(inputs.clone(), targets.clone())
        captured = self.graphs[kind]
        captured.inputs.copy_(inputs)
        captured.targets.copy_(targets)
        # Draw again after a capture: the comparison then detects a graph that reuses the numbers drawn before it.
        self.learner.method.draw()
        if new:
            self._replay_and_compare(captured)
        else:
            captured.graph.replay()
        self.learner.method.step += 1
        loss_S, score_S = captured.result.loss_S, captured.result.score_S
        return StepResult(loss_S.clone(), None if score_S is None else score_S.clone())

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        """Return a stream for warm-up and capture: cuBLAS and cuDNN allocate a workspace for each stream."""
        return torch.cuda.Stream()

    def capture(self, inputs: Tensor, targets: Tensor) -> _StepGraph:
        """Capture `Learner.learn` after warm-up steps; the learner's state is unchanged afterwards."""
        before = self._copy_state()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_STEPS):
                self.learner.learn(inputs, targets)
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: another thread may pin memory for the next task, which must not interrupt this capture.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                result = self.learner.learn(inputs, targets)
        except RuntimeError as error:
            if memory_error(error):
                raise
            first = error.__context__ or error  # ending a failed capture raises a second error
            raise CaptureError(f"the training step cannot be captured as a CUDA graph: {first}") from error
        self.learner.load_state(before)
        return _StepGraph(graph, inputs, targets, result)

    def _replay_and_compare(self, captured: _StepGraph) -> None:
        """Replay one step and compare it with the eager step. Raises ReplayError."""
        before = self._copy_state()
        result = self.learner.learn(captured.inputs, captured.targets)
        eager = self._copy_state()
        self.learner.load_state(before)
        results = [one for one in (captured.result.loss_S, captured.result.score_S) if one is not None]
        for one in results:
            one.fill_(_UNWRITTEN)
        captured.graph.replay()
        if any((one == _UNWRITTEN).any() for one in results):
            raise ReplayError(
                "the CUDA graph of the training step is empty or incomplete, as if it was captured on another GPU or "
                f"stream than the step ran on; {_ADVICE}"
            )
        # Relative to at least 1, because the log of a softmax has the rounding error of numbers close to 1.
        before["loss"], eager["loss"] = torch.ones_like(result.loss_S), result.loss_S
        replayed = self.learner.state() | {"loss": captured.result.loss_S}
        for name, seed in _differences(before, eager, replayed, TOLERANCE[self.learner.precision]):
            raise ReplayError(
                f"the CUDA graph of the training step differs from the eager step ({name} of seed "
                f"{self.learner.seeds[seed]}, batch of {captured.targets.shape[1]}); {_ADVICE}"
            )

    def _copy_state(self) -> State:
        return {name: tensor.clone() for name, tensor in self.learner.state().items()}


_ADVICE = "nothing was recorded; train with --device cpu, or install another version of torch or the driver"


def _differences(before: State, eager: State, replayed: State, tolerance: float) -> Iterator[tuple[str, int]]:
    """Return tensors, and rows in them, that the replayed step changed differently from the eager step.

    A seed that the eager step makes infinite or NaN has diverged and is not compared.
    """
    for name, tensor in before.items():
        rows, ours, theirs = _rows(tensor), _rows(eager[name]), _rows(replayed[name])
        change, other = ours - rows, theirs - rows
        size_S, allowed_S = _norm(change), tolerance * _norm(change) + ROUNDING * _norm(rows)
        wrong_S = size_S.isfinite() & ~(_norm(other - change) <= allowed_S)  # NaN is a difference
        for seed in wrong_S.nonzero()[:, 0].tolist():
            yield name, seed


def _rows(tensor: Tensor) -> Tensor:
    """Return a row of real numbers for each seed; counters and masks are converted to numbers."""
    return (tensor if tensor.is_floating_point() else tensor.double()).reshape(len(tensor), -1)


def _norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
