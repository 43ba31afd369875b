"""Reduced precision: chosen by name, and used only in the training step."""

import pytest
import torch

from lop_engine.device import compute_in_full, training_precision
from lop_engine.errors import ConfigError
from lop_engine.experiment.spec import validate
from lop_engine.methods.method import Method
from lop_engine.training.learner import Learner
from tests.engine.test_learners import CPU, METHODS, batches, make_spec


@pytest.fixture(autouse=True)
def as_in_a_worker():
    compute_in_full()


def trained(method: str, precision: str, num_steps: int = 6):
    learner = Learner(make_spec(method, precision=precision), [0, 1], CPU)
    learner.start_epoch(0, 0)
    drawn = [(torch.stack([x, x]).to(learner.dtype), torch.stack([y, y])) for x, y in batches(0, num_steps)]
    losses = [learner.step(*batch).loss_S for batch in drawn]
    return learner, torch.stack(losses)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.long
def test_bf16_rounds_the_step_and_keeps_weights_and_states_in_float32(method):
    exact, exact_losses = trained(method, "fp32")
    rounded, losses = trained(method, "bf16")
    torch.testing.assert_close(losses, exact_losses, rtol=0, atol=0.05)
    assert not torch.equal(losses, exact_losses)
    state = exact.state()
    assert {name: tensor.dtype for name, tensor in rounded.state().items()} == {n: t.dtype for n, t in state.items()}


def test_tf32_on_a_cpu_is_float32():
    assert torch.equal(trained("cbp", "tf32")[1], trained("cbp", "fp32")[1])


def test_tf32_is_allowed_only_within_the_step():
    def allowed():
        return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision

    assert allowed() == ("ieee", "ieee")
    with training_precision("fp32", "cuda"):
        assert allowed() == ("ieee", "ieee")
    precisions = []

    def failing_step():
        with training_precision("tf32", "cuda"):
            precisions.append(allowed())
            raise KeyError

    with pytest.raises(KeyError):
        failing_step()
    assert precisions == [("tf32", "tf32")]
    assert allowed() == ("ieee", "ieee")


def test_reduced_precision_covers_the_backward_pass_and_not_the_hooks_after_it(monkeypatch):
    precisions = []

    def note(hidden):
        precisions.append((torch.backends.cudnn.conv.fp32_precision, hidden[0].activation.dtype))

    class Recording(Method):
        def update(self, params, grads, hidden):
            note(hidden)

        def after_update(self, params, hidden, grads, batch, forward):
            note(hidden)
            note(forward(batch.inputs).hidden)

    learner = Learner(make_spec(precision="tf32"), [0], CPU)
    learner.method = Recording(learner.method.setup)
    backward = torch.autograd.grad
    during = []

    def watched(*args):
        during.append(torch.backends.cudnn.conv.fp32_precision)
        return backward(*args)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    learner.step(*(part[None] for part in batches(0, 1)[0]))
    assert during == ["tf32"]
    assert precisions == [("ieee", torch.float32)] * 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.long
def test_fp64_computes_the_whole_step_in_double_precision(method):
    """Steps equal those in float32 except for rounding, and every stored real tensor is in double precision."""
    learner, losses = trained(method, "fp64")
    exact, exact_losses = trained(method, "fp32")
    assert losses.dtype == torch.float64
    torch.testing.assert_close(losses, exact_losses.double(), rtol=0, atol=1e-3)
    state = learner.state()
    assert {tensor.dtype for tensor in state.values() if tensor.is_floating_point()} == {torch.float64}
    assert state.keys() == exact.state().keys()


def test_an_unknown_precision_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match=r"precision.*fp32.*tf32.*bf16"):
        validate({"agent": "bp", "step_size": 0.1, "num_tasks": 1, "num_showings": 1, "precision": "fp16"}, "x.json")
