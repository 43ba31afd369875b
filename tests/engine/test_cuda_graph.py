"""The training step as a CUDA graph, with a stand-in for torch.cuda: replay, comparison and refusal."""

from collections import Counter

import pytest
import torch

from lop_engine.device import use_device
from lop_engine.errors import CaptureError, ReplayError
from lop_engine.experiment.spec import per_run_keys
from lop_engine.methods.method import Method
from lop_engine.training import cuda_graph
from lop_engine.training.cuda_graph import CudaGraphStep, fast_step
from lop_engine.training.learner import Learner
from tests.engine.fake_cuda import Graph, fake_cuda
from tests.engine.test_learners import CPU, METHODS, batches, make_spec

__all__ = ["fake_cuda"]

GPU = torch.device("cuda", 1)


def stacked_batches(num: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return batches of two seeds; the last batch is short."""
    one, other = batches(0, num), batches(1, num)
    both = [(torch.stack([a, b]), torch.stack([c, d])) for (a, c), (b, d) in zip(one, other, strict=True)]
    return [*both[:-1], (both[-1][0][:, :7], both[-1][1][:, :7])]


def a_learner(method: str = "bp", mixed: bool = False, **changes) -> Learner:
    spec = make_spec(method, **changes)
    numbers = {key: type(value)(value / 2) for key in per_run_keys(spec) if (value := getattr(spec, key))}
    learner = Learner([spec, spec.with_changes(**numbers)] if mixed else spec, [0, 1], CPU)
    learner.start_epoch(0, 0)
    return learner


def copied(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.long
def test_replayed_steps_equal_eager_steps(method, mixed, fake_cuda):
    eager, graphed = a_learner(method, mixed), a_learner(method, mixed)
    step, kinds = fast_step(graphed, torch.device("cuda", 0)), []
    for images, labels in stacked_batches(8):
        kinds.append((labels.shape, graphed.method.variant))
        expected, result = eager.step(images, labels), step(images, labels)
        assert torch.equal(result.loss_S, expected.loss_S)
        assert torch.equal(result.score_S, expected.score_S)
    assert same(eager.state(), graphed.state())
    # One graph for each batch size and each kind of step.
    assert [graph.replays for graph in fake_cuda.graphs] == list(Counter(kinds).values())
    assert len(fake_cuda.graphs) == len(set(kinds)) >= 2


def test_steps_in_which_a_method_acts_have_their_own_graph(fake_cuda):
    learner = a_learner("redo")
    step, batch = CudaGraphStep(learner), stacked_batches(2)[0]
    replays = []
    for _ in range(12):
        step(*batch)
        replays.append([graph.replays for graph in fake_cuda.graphs])
    assert replays[3] == [4]
    assert replays[4] == [4, 1]
    assert replays[-1] == [10, 2]


def test_steps_are_eager_without_graphs(fake_cuda):
    learner = a_learner()
    assert fast_step(learner, CPU) == learner.step
    assert fast_step(learner, GPU, cuda_graphs=False) == learner.step


def test_warm_up_and_capture_use_the_same_side_stream(fake_cuda, monkeypatch):
    learner, learn, learned_on = a_learner(), Learner.learn, []

    def watched(learner, images, labels):
        learned_on.append(fake_cuda.streams[-1])
        return learn(learner, images, labels)

    monkeypatch.setattr(Learner, "learn", watched)
    step = CudaGraphStep(learner)
    for images, labels in stacked_batches(2):
        step(images, labels)
    [side] = set(fake_cuda.captured_on)
    assert side is not fake_cuda.streams[0]
    each = [side] * (cuda_graph.WARM_UP_STEPS + 1) + [fake_cuda.streams[0]]  # the last step is for the comparison
    assert learned_on == each * 2


def test_the_empty_graph_of_a_gpu_that_is_not_current_is_refused(fake_cuda):
    """As in pytorch#87894: nothing is captured, without a warning, and a replay changes nothing."""
    fake_cuda.device = 1
    with pytest.raises(ReplayError, match="graph of the training step is empty or incomplete"):
        CudaGraphStep(a_learner())(*stacked_batches(2)[0])
    use_device(GPU)
    CudaGraphStep(a_learner())(*stacked_batches(2)[0])


def test_an_empty_graph_is_refused_if_every_seed_has_diverged(fake_cuda):
    fake_cuda.device = 1
    learner = a_learner()
    with torch.no_grad():
        learner.params["conv1.weight"].fill_(torch.nan)
    with pytest.raises(ReplayError, match="is empty"):
        CudaGraphStep(learner)(*stacked_batches(2)[0])


def test_a_graph_is_accepted_with_a_diverged_seed(fake_cuda):
    eager, graphed = a_learner("cbp"), a_learner("cbp")
    for learner in (eager, graphed):
        with torch.no_grad():
            learner.params["conv1.weight"][0].fill_(torch.nan)
    batch = stacked_batches(2)[0]
    eager.step(*batch)
    CudaGraphStep(graphed)(*batch)
    for name, tensor in eager.state().items():
        assert torch.equal(graphed.state()[name][1], tensor[1]), name


class CountingInPython(Method):
    """Adds a different number in each step, while a graph repeats the number of its capture."""

    steps = 0

    def after_update(self, params, hidden, grads, batch, forward):
        self.steps += 1
        params["fc3.bias"].add_(self.steps)


class DrawingIntoNewTensors(Method):
    """Draws into a new tensor each time, while a graph reads the tensor of its capture."""

    drawn = torch.zeros(())

    def draw(self):
        self.drawn = torch.randn(())

    def after_update(self, params, hidden, grads, batch, forward):
        params["fc1.bias"].add_(self.drawn)


@pytest.mark.parametrize(
    ("method", "name"), [(CountingInPython, "params.fc3.bias"), (DrawingIntoNewTensors, "params.fc1.bias")]
)
def test_a_step_that_a_graph_cannot_repeat_is_refused_by_name(method, name, fake_cuda):
    learner = a_learner()
    learner.method = method(learner.method.setup)
    with pytest.raises(ReplayError, match=f"{name} of seed 0, batch of 20"):
        CudaGraphStep(learner)(*stacked_batches(2)[0])


@pytest.mark.parametrize(
    ("method", "share"),
    [*((name, 0.5) for name in METHODS), *((name, 0.9) for name in ("bp", "snp", "cbp", "cbp adam", "upgd", "linear"))],
)
def test_a_graph_that_lacks_some_of_its_kernels_is_refused(method, share, fake_cuda, monkeypatch):
    """The missing kernels must have an effect in the compared step; cbp replaces units in its first step."""
    at_once = {"replacement_rate": 0.3, "maturity_threshold": 0} if "cbp" in method else {}
    captured = CudaGraphStep.capture

    def with_losses(step, images, labels):
        made = captured(step, images, labels)
        made.graph.calls = made.graph.calls[: int(share * len(made.graph.calls))]
        return made

    monkeypatch.setattr(CudaGraphStep, "capture", with_losses)
    with pytest.raises(ReplayError):
        CudaGraphStep(a_learner(method, **at_once))(*stacked_batches(2)[0])


def test_a_graph_that_lacks_the_score_is_refused(fake_cuda, monkeypatch):
    replay = Graph.replay

    def without_score(graph):
        score = step.graphs[kind].result.score_S
        before = score.clone()
        replay(graph)
        score.copy_(before)

    learner, batch = a_learner(), stacked_batches(2)[0]
    step, kind = CudaGraphStep(learner), (batch[1].shape, None)
    monkeypatch.setattr(Graph, "replay", without_score)
    with pytest.raises(ReplayError, match="incomplete"):
        step(*batch)


def test_updates_much_smaller_than_the_weights_are_compared(fake_cuda, monkeypatch):
    """With a step size of 1e-5, weights without the update still agree to five digits."""
    replay = Graph.replay

    def without_updates(graph):
        before = {name: tensor.clone() for name, tensor in learner.params.items()}
        replay(graph)
        with torch.no_grad():
            for name, tensor in before.items():
                learner.params[name].copy_(tensor)

    learner = a_learner(step_size=1e-5)
    CudaGraphStep(learner)(*stacked_batches(2)[0])
    monkeypatch.setattr(Graph, "replay", without_updates)
    with pytest.raises(ReplayError, match="differs from the eager step"):
        CudaGraphStep(learner)(*stacked_batches(2)[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.long
def test_a_graph_with_different_rounding_is_accepted(method, precision, fake_cuda, monkeypatch):
    """A library may choose another algorithm in a capture.

    Here the images of the capture differ in their last digits.
    """
    captured, noise = CudaGraphStep.capture, torch.Generator().manual_seed(0)

    def rounding_differently(step, images, labels):
        made = captured(step, images, labels)

        def replay():
            made.inputs.mul_(1 + 1e-6 * torch.randn(images.shape, generator=noise))
            Graph.replay(made.graph)

        made.graph.replay = replay
        return made

    monkeypatch.setattr(CudaGraphStep, "capture", rounding_differently)
    learner = a_learner(method, precision=precision)
    for images, labels in stacked_batches(3):
        before = copied(learner)
        CudaGraphStep(learner)(images, labels)
        assert not same(before, copied(learner))


def test_a_failed_capture_ends_training_with_the_reason(fake_cuda):
    fake_cuda.fail = RuntimeError("operation not permitted when stream is capturing")
    with pytest.raises(CaptureError, match="as a CUDA graph: operation not permitted when stream is capturing"):
        CudaGraphStep(a_learner())(*stacked_batches(2)[0])


def test_running_out_of_memory_in_a_capture_is_not_reported_as_a_failed_capture(fake_cuda):
    """Ending the capture raises a second error, which hides that of the allocator."""
    fake_cuda.fail = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    with pytest.raises(RuntimeError, match="previous error during capture") as caught:
        CudaGraphStep(a_learner())(*stacked_batches(2)[0])
    assert not isinstance(caught.value, CaptureError)
