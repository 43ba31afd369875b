"""The order of a method's hooks and the buffers of a network, tested with a method and a network made for it."""

import pytest
import torch
from torch import Tensor

from lop_engine.experiment.components import Method as MethodDescription
from lop_engine.experiment.components import Network as NetworkDescription
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS
from lop_engine.experiment.spec import Spec
from lop_engine.methods.method import Batch, Method, TaskData
from lop_engine.networks.layers import NO_BUFFERS, Activations, Hidden, Layer, Network, linear
from lop_engine.testing import RULES, Subject, apply
from lop_engine.testing.resuming import resumes
from lop_engine.training.cuda_graph import CudaGraphStep
from lop_engine.training.learner import Learner
from lop_engine.training.loop import Position
from tests.engine.fake_cuda import fake_cuda
from tests.engine.test_methods import make_spec, run, task_of

__all__ = ["fake_cuda"]

CPU = torch.device("cpu")


class Recording(Method):
    """Records each hook with its arguments, and behaves like backprop."""

    looks_before_pooling = True

    def __init__(self, setup):
        super().__init__(setup)
        self.notes = []

    def note(self, name, *about):
        self.notes.append((name, *about))

    def init(self, params):
        self.params, self.initial = params, {name: weight.clone() for name, weight in params.items()}
        self.note("init")

    def start_task(self, task: TaskData):
        self.note("start_task", task.index, self.step)
        self.start, self.task = {name: weight.clone() for name, weight in self.params.items()}, task
        self.gradient = task.gradient(task.inputs[:, :4], task.targets[:, :4])

    def start_epoch(self, task, epoch):
        self.note("start_epoch", task, epoch, self.step)

    def draw(self):
        self.note("draw", self.step)

    def start_step(self, params):
        assert not torch.is_grad_enabled()
        self.note("start_step")

    def penalty(self, params):
        self.note("penalty")
        self.penalised = sum((weight**2).flatten(1).sum(1) for weight in params.values())
        return self.penalised

    def update(self, params, grads, hidden):
        self.note("update")
        self.before, self.grads = {name: weight.clone() for name, weight in params.items()}, grads
        super().update(params, grads, hidden)

    def after_update(self, params, hidden, grads, batch: Batch, forward):
        self.note("after_update")
        assert all(torch.equal(grads[name], self.grads[name]) for name in params)
        self.hidden, self.batch, self.fresh = hidden, batch, forward(batch.inputs)

    def end_task(self, task):
        self.note("end_task", task)

    def evaluated(self, params):
        self.note("evaluated")
        return {name: torch.zeros_like(weight) for name, weight in params.items()}


@pytest.fixture
def recording(monkeypatch):
    method = MethodDescription(name="recording", title="recording", code=f"{__name__}:Recording")
    monkeypatch.setitem(METHODS.by_name, "recording", method)


def learner_of(spec: Spec) -> Learner:
    return Learner(spec, [0, 3], CPU)


def test_hooks_are_called_in_order(recording):
    spec = make_spec({"agent": "recording"}, mini_batch_size=20, metrics=["train_loss"])  # two steps in each epoch
    learner = learner_of(spec)
    run(spec, learner)
    steps = [("draw", 0), ("start_step",), ("penalty",), ("update",), ("after_update",)]

    def epoch(task, number):
        first = (task * 2 + number) * 2
        return [
            ("start_epoch", task, number, first),
            *[("draw", first + step[1]) if step[0] == "draw" else step for step in steps],
            *[("draw", first + 1) if step[0] == "draw" else step for step in steps],
        ]

    expected = [("init",)]
    for task in (0, 1):
        expected += [("start_task", task, task * 4), *epoch(task, 0), ("evaluated",)]
        expected += [*epoch(task, 1), ("end_task", task), ("evaluated",)]
    assert learner.method.notes == expected


def test_a_resumed_run_has_the_same_step_numbers_without_a_second_start_task(recording):
    spec = make_spec({"agent": "recording"}, mini_batch_size=20, metrics=["train_loss"])
    learner = learner_of(spec)
    run(spec, learner, start=Position(1, 1))
    assert learner.method.notes[:3] == [("init",), ("start_epoch", 1, 1, 6), ("draw", 6)]
    assert "start_task" not in {name for name, *_ in learner.method.notes}


def test_each_hook_gets_the_documented_arguments(recording):
    spec = make_spec({"agent": "recording"})
    learner, task = learner_of(spec), task_of([0, 3], 0, 12)
    method: Recording = learner.method
    assert all(torch.equal(method.initial[name], weight) for name, weight in learner.params.items())
    with torch.no_grad():
        learner.params["fc3.weight"].fill_(1.0)
    learner.start_task(0, task)
    assert not method.start["fc3.weight"].any(), "hooks get the task's new output layer"
    assert torch.equal(method.task.inputs, task.train_inputs)
    images, labels = task.train_inputs[:, :4], task.train_targets[:, :4]
    weights = {name: weight.detach().requires_grad_() for name, weight in learner.params.items()}
    loss = learner.problem.loss(learner.net(weights, images).outputs_SBO, labels).sum()
    for given, grad in zip(method.gradient.values(), torch.autograd.grad(loss, list(weights.values())), strict=True):
        torch.testing.assert_close(given, grad)
    learner.start_epoch(0, 0)
    with torch.no_grad():
        before = learner.net(learner.params, images).hidden
    result = learner.step(images, labels)
    torch.testing.assert_close(result.loss_S, torch.full((2,), 0.6931472))  # without the penalty
    for layer, expected in zip(method.hidden, before, strict=True):
        torch.testing.assert_close(layer.activation, expected.activation)
        torch.testing.assert_close(layer.before_pooling, expected.before_pooling)
    assert method.hidden[0].before_pooling.shape[3:] == (28, 28)
    assert method.hidden[0].activation.shape[3:] == (14, 14)
    bias = method.before["fc3.bias"]
    assert torch.equal(method.grads["conv1.weight"], 2 * method.before["conv1.weight"]), "gradients include the penalty"
    assert bias.requires_grad is False
    after = learner.net(learner.params, images)
    torch.testing.assert_close(method.fresh.outputs_SBO, after.outputs_SBO.detach())
    assert torch.equal(method.batch.inputs, images)


def test_metrics_use_the_weights_of_evaluated(recording):
    spec = make_spec(
        {"agent": "recording"}, metrics=["weight_magnitude", "dormant_proportion", "train_loss"], num_tasks=1
    )
    reports, _ = run(spec, learner_of(spec))
    assert reports
    for report in reports:
        assert report.metrics["weight_magnitude"] == [0.0, 0.0]
        assert report.metrics["dormant_proportion"] == [1.0, 1.0]
        assert all(loss > 0 for loss in report.metrics["train_loss"])


class Centred(Network):
    """One hidden layer that subtracts the running mean of its input, updated by each training step."""

    def __init__(self, num_outputs):
        self.layers = (Layer("fc1", 3072, 6), Layer("fc2", 6, num_outputs))
        self.weight_bounds = self.bias_bounds = {"fc1": 0.02, "fc2": 0.4}

    def buffers(self, num_seeds, device, dtype):
        return {"mean": torch.zeros(num_seeds, 6, device=device, dtype=dtype)}

    def __call__(self, params, inputs_SB, buffers=NO_BUFFERS, training=False):
        x: Tensor = linear(params, self.layers[0], inputs_SB.flatten(2))
        if training:
            buffers["mean"].lerp_(x.detach().mean(1), 0.5)
        h = torch.relu(x - buffers["mean"].clone().unsqueeze(1))
        return Activations(linear(params, self.layers[1], h), [Hidden(h)])


def build(spec, input_shape, num_outputs):
    return Centred(num_outputs)


@pytest.fixture(params=["bp", "cbp", "redo", "l2_init", "upgd"])
def centred(request, monkeypatch) -> Spec:
    """Return a spec of each method with that network."""
    network = NetworkDescription(
        name="centred",
        title="centred",
        provides=frozenset({"hidden units"}),
        code=f"{__name__}:build",
        num_hidden=lambda own: 1,
    )
    monkeypatch.setitem(NETWORKS.by_name, "centred", network)
    own = {"redo_period": 3, "redo_threshold": 0.5} if request.param == "redo" else {}
    return make_spec({"agent": request.param, "network": "centred", **own}, metrics=list(METRICS))


def test_buffers_change_only_in_training_steps(centred):
    """They change once in each step, also if the method computes activations again."""
    if centred.agent == "redo":
        centred = centred.with_changes(redo_period=1, redo_scores="fresh")
    learner, task = Learner(centred, [0, 3], CPU), task_of([0, 3], 0, 20)
    learner.start_epoch(0, 0)
    before = learner.state()["buffers.mean"].clone()
    learner.step(task.train_inputs[:, :5], task.train_targets[:, :5])
    with torch.no_grad():
        x = linear(Learner(centred, [0, 3], CPU).params, learner.net.layers[0], task.train_inputs[:, :5].flatten(2))
    torch.testing.assert_close(learner.state()["buffers.mean"], before.lerp(x.mean(1), 0.5))
    mean = learner.buffers["mean"].clone()
    learner.start_task(1, task)  # a gradient, for methods that ask for one
    learner.forward(learner.evaluated(), task.train_inputs)
    assert torch.equal(learner.buffers["mean"], mean)


def test_metrics_use_buffers_without_changing_them(centred):
    """With all metrics, also the curvature and a gradient norm, a run is the same as one that measures nothing."""
    learner = run(centred)[1]
    unmeasured = run(centred.with_changes(metrics=["train_loss"], metrics_every=0))[1]
    assert all(torch.equal(tensor, unmeasured.state()[name]) for name, tensor in learner.state().items())
    inputs = task_of([0, 3], 0, 5).train_inputs
    outputs = learner.forward(learner.evaluated(), inputs).outputs_SBO
    learner.buffers["mean"].add_(1)
    assert not torch.equal(outputs, learner.forward(learner.evaluated(), inputs).outputs_SBO)


@pytest.mark.parametrize("rule", RULES["network"])
def test_a_network_with_buffers_passes_the_rules(centred, rule):
    quick = {"metrics": ["train_loss", "weight_magnitude"]} if rule is not resumes else {}
    apply(rule, Subject(NETWORKS["centred"], centred.with_changes(**quick)))


def test_the_warm_up_of_a_cuda_graph_does_not_change_buffers(centred, fake_cuda):
    eager, graphed = (Learner(centred, [0, 3], CPU) for _ in range(2))
    step, task = CudaGraphStep(graphed), task_of([0, 3], 0, 40)
    for learner in (eager, graphed):
        learner.start_epoch(0, 0)
    for x, y in zip(task.train_inputs.split(5, 1), task.train_targets.split(5, 1), strict=True):
        assert torch.equal(eager.step(x, y).loss_S, step(x, y).loss_S)
    assert all(torch.equal(tensor, graphed.state()[name]) for name, tensor in eager.state().items())
