"""The check detects a wrong step and reports it."""

import importlib
import json
import subprocess
import sys
import warnings
import zipfile
from contextlib import contextmanager

import pytest
import torch

from bench.gpu import __main__ as command
from bench.gpu import child, engine, problems, wheels
from bench.gpu.results import Report, Results
from bench.gpu.stages import STAGES, choose
from lop_engine.experiment.registry import PROBLEMS
from lop_engine.networks import conv_net, convolution
from lop_engine.training import fused, loop
from lop_engine.training.learner import Learner, StepResult
from tests.gpu_check.helpers import SMALL, verdicts


@pytest.fixture
def one_case(monkeypatch):
    """Restrict the check to one method in one precision."""
    monkeypatch.setattr(engine, "setting_names", lambda: ["cbp"])
    monkeypatch.setattr(engine, "PRECISIONS", ("fp32",))


def run_here(*names: str) -> Results:
    """Run stages in this process."""
    results = Results()
    child.run_stages(choose(names), SMALL, results.take)
    return results


def idle(learner):
    """Simulates an empty graph, which trains nothing."""
    zeros_S = torch.zeros(len(learner.seeds))
    return lambda images, labels: StepResult(zeros_S, zeros_S)


def stale(learner):
    """Simulates a graph that reads the first batch in every step."""
    first: list = []

    def step(*batch):
        first[:] = first or batch
        return learner.step(*first)

    return step


def mixing(learner):
    """A step that moves every seed towards its neighbours."""

    def step(*batch):
        result = learner.step(*batch)
        with torch.no_grad():
            for weight in learner.params.values():
                weight.lerp_(weight.mean(0, keepdim=True), 0.1)
        return result

    return step


def warning(learner):
    """A step that is trained kernel by kernel because it cannot be captured."""

    def step(*batch):
        warnings.warn("training without CUDA graphs", stacklevel=2)
        return learner.step(*batch)

    return step


def raising(learner):
    """A step that fails."""

    def step(*batch):
        raise RuntimeError("out of memory")

    return step


@pytest.mark.parametrize(
    ("fake", "stage"),
    [
        (idle, "graphs"),
        (stale, "graphs"),
        (warning, "graphs"),
        (raising, "graphs"),
        (mixing, "stack"),
        (mixing, "diverged"),
        (idle, "diverged"),
    ],
)
def test_a_broken_step_fails_and_the_exit_status_is_1(fake, stage, one_case, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(engine, "fast_step", lambda learner, device: fake(learner))

    def run_group_here(stages, command, environment, results, limit_s, log_path, say):
        child.run_stages(stages, SMALL, results.take)

    monkeypatch.setattr(command, "run_group", run_group_here)
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", stage, "-o", str(tmp_path)])
    assert command.main() == 1
    assert "FAIL" in capsys.readouterr().out
    assert "| FAIL |" in (tmp_path / "summary.md").read_text()


def of_problems(monkeypatch) -> dict[str, str]:
    """Run cbp on one problem; return what was measured and the verdict by check."""
    monkeypatch.setattr(problems, "PROBLEMS", {"slowly_changing_regression": PROBLEMS["slowly_changing_regression"]})
    return {line.check: f"{line.verdict}: {line.measured}" for line in run_here("problems").lines}


def test_every_method_is_trained_over_tasks_stopped_and_resumed(monkeypatch):
    assert of_problems(monkeypatch) == {"slowly_changing_regression, cbp": "needs a GPU: apart 0.0e+00"}


@pytest.mark.parametrize(("fake", "measured"), [(idle, "moved 0"), (stale, "apart ")])
def test_a_step_that_is_wrong_over_tasks_fails(fake, measured, monkeypatch):
    def fast_step(learner, device, graphs):
        return fake(learner) if graphs else learner.step

    monkeypatch.setattr(loop, "fast_step", fast_step)
    monkeypatch.setattr(fused, "kernel_for", lambda learner, device: None)
    [(_, text)] = of_problems(monkeypatch).items()
    assert text.startswith("FAIL")
    assert measured in text


def test_a_resumed_training_that_lost_state_fails(monkeypatch):
    load_states = Learner.load_states

    def forgetful(learner, states):
        load_states(learner, [{name: tensor * (name[:9] != "mechanism") for name, tensor in s.items()} for s in states])

    monkeypatch.setattr(Learner, "load_states", forgetful)
    [(_, text)] = of_problems(monkeypatch).items()
    assert text.startswith("FAIL")
    assert "resumed apart" in text


def test_an_activation_is_compared_with_torch_s_convolutions(one_case, monkeypatch):
    monkeypatch.setitem(convolution.WAYS, "cudnn", convolution.WAYS["cpu"])
    assert verdicts(run_here("activations")) == {"needs a GPU"}

    def doubled(images, layers, *more, **others):
        return hidden_maps(images, [(2 * weight, bias) for weight, bias in layers], *more, **others)

    hidden_maps = conv_net.hidden_maps
    with monkeypatch.context() as patch:
        patch.setattr(engine, "convolutions_of_torch", lambda: replaced(conv_net, "hidden_maps", doubled))
        checks = {line.check: line.verdict for line in run_here("activations").lines}
    assert checks == {"bp tanh, fp32": "needs a GPU", "tanh, fp32, by torch": "FAIL"}


@contextmanager
def replaced(module, name, value):
    before = getattr(module, name)
    setattr(module, name, value)
    yield
    setattr(module, name, before)


@pytest.mark.long
def test_online_problems_are_timed_beside_a_plain_loop():
    rows = run_here("online").table("online")
    assert {(row["problem"], row["way"]) for row in rows} == {
        (p, w) for p in ("mnist", "scr") for w in ("plain", "lop")
    }
    assert all(row["step_us"] > 0 for row in rows)


def test_agreement_on_a_cpu_has_the_verdict_needs_a_gpu(one_case):
    results = run_here("graphs")
    assert [line.check for line in results.lines] == ["cbp, fp32"]
    assert verdicts(results) == {"needs a GPU"}
    assert not results.failed


def test_the_same_agreement_on_a_gpu_passes():
    results = Results()
    Report("graphs", True, results.take).check("cbp, fp32", True, "0", "<= 0.01")
    assert verdicts(results) == {"PASS"}


@pytest.mark.long
def test_the_small_form_runs_on_a_cpu_and_writes_its_results(tmp_path):
    typed = ["--device", "cpu", "--small", "--only", "stack", "--only", "diverged", "--only", "waiting"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu", *typed, "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=wheels.ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "correctness.json").read_text())
    assert set(content["seconds"]) == {"stack", "diverged", "waiting"}
    assert {line["verdict"] for line in content["lines"]} == {"needs a GPU"}
    assert len(list(tmp_path.iterdir())) <= 8
    rows = [line for line in done.stdout.splitlines() if line.startswith("needs a GPU")]
    assert len(rows) == len(content["lines"]) >= 7
    summary = (tmp_path / "summary.md").read_text()
    assert torch.__version__ in summary.splitlines()[0]
    assert "--device cpu --small" in summary.splitlines()[0]


def test_a_missing_device_is_refused_with_advice(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cuda:97", "--only", "golden", "-o", str(tmp_path)])
    assert command.main() == 2
    assert "cuda:97" in capsys.readouterr().err


def test_an_unknown_stage_is_refused_before_anything_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", "grahps"])
    assert command.main() == 2
    assert "grahps" in capsys.readouterr().err


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_has_a_function(stage):
    assert callable(getattr(importlib.import_module(f"bench.gpu.{stage.module}"), stage.function))


def test_a_check_after_a_failed_capture_runs_in_a_new_process(one_case, monkeypatch):
    class CaptureError(Exception):
        pass

    def fake(learner, device):
        raise CaptureError("the step cannot be captured")

    monkeypatch.setattr(engine, "fast_step", fake)
    monkeypatch.setattr(engine, "setting_names", lambda: ["bp", "cbp"])
    events: list = []
    child.run_stages(choose(["graphs", "stack"]), SMALL, events.append, done=["bp, fp32"])
    assert [event["line"]["check"] for event in events if event["event"] == "line"] == ["cbp, fp32"]
    assert events[-1]["unfinished"]
    assert events[-1]["broken"]


def test_wheels_are_installed_into_their_own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "FOLDER", tmp_path / "wheels")
    assert "pip install" in wheels.install(tmp_path / "site")
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "tried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tried.py", "VALUE = 1\n")
        wheel.writestr("tried-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tried\nVersion: 1.0\n")
        wheel.writestr("tried-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tried-1.0.dist-info/RECORD", "")
    assert wheels.install(tmp_path / "site") == ""
    assert (tmp_path / "site" / "tried.py").exists()
