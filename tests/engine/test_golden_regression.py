"""Compare Slowly-Changing Regression with figures of the reference (tests/golden/README.md)."""

import numpy as np
import pytest
import torch

from lop_engine.experiment.spec import Spec
from lop_engine.problems import Task
from lop_engine.problems.slowly_changing_regression import TargetNetwork
from lop_engine.training.fused.regression import RegressionPart
from lop_engine.training.learner import Learner
from lop_engine.training.loop import train as train_run
from tests.engine.regression import (
    CBP,
    CPU,
    NUM_STEPS,
    RUNS,
    SHOWN,
    candidates,
    chances,
    examples,
    golden,
    learner_of,
    noise,
)

WITHIN_1000, LATER, WEIGHTS = 5e-5, 1e-3, 3e-4
"""Tolerances of errors and final weights."""


@pytest.mark.parametrize("env", ["all", "one"])
def test_targets_equal_those_of_the_reference(env):
    of = {key: golden()[f"{env}.target_{key}"] for key in ("w1", "b1", "w2", "b2")}
    w1, b1, w2, b2 = (torch.from_numpy(one.astype(np.float32)) for one in of.values())
    target = TargetNetwork(w1[None], b1[None], w2, b2, beta=0.7)
    assert torch.equal(target.tau_SH[0], torch.from_numpy(golden()[f"{env}.tau"]))
    inputs, targets = examples(env)
    assert torch.equal(target(inputs), targets.squeeze(2))


def train(run, num_steps):
    """Train; return the errors of the first steps, and the (step, unit) of each replacement."""
    learner, (inputs, targets) = learner_of(run), examples(run)
    learner.start_epoch(0, 0)
    errors, events = [], []
    if run.endswith("snp"):
        numbers = noise(run, num_steps)
        learner.method.draw = lambda: learner.method.numbers.of_step_SN.copy_(numbers[len(errors)])
    if run.endswith("cbp"):
        chance, incoming = chances(run, num_steps), candidates(run, learner)
        drawn, age_SF = learner.method.draws.groups[0].of_step_SN, learner.method.layer_states[0].age_SF

        def draw():
            drawn[0, :20] = incoming[min(len(events), len(incoming) - 1)]
            drawn[0, 20] = chance[len(errors)]

        learner.method.draw = draw
    for step in range(num_steps):
        errors.append(learner.step(inputs[:, step : step + 1], targets[:, step : step + 1]).loss_S.item())
        if run.endswith("cbp"):
            events += [(step + 1, unit) for unit in (age_SF[0] == 0).nonzero()[:, 0].tolist()]
    return np.array(errors), events, learner


def assert_errors_agree(run, errors):
    shown = np.extract(len(errors) > SHOWN, SHOWN)
    expected, computed = golden()[f"{run}.errors"][: len(shown)], errors[shown]
    tolerance = np.where(shown < 1000, WITHIN_1000, LATER)
    if run == "all_adam.relu":  # a unit's input reaches the kink of its activation
        assert errors.mean() == pytest.approx(
            expected.mean() if len(errors) <= 5000 else golden()[f"{run}.mean_error"], abs=1e-4
        )
    else:
        assert np.all(np.abs(computed - expected) <= tolerance), np.abs(computed - expected).max()


def assert_events_agree(run, events, num_steps):
    steps, units = (golden()[f"{run}.event_{what}"] for what in ("step", "unit"))
    due = int((steps <= num_steps).sum())
    assert [step for step, _ in events] == steps[:due].tolist()
    before_a_tie = 178 if run == "all_cbp.cbp" else due
    assert [unit for _, unit in events][:before_a_tie] == units[: min(due, before_a_tie)].tolist()


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.long
def test_errors_equal_those_of_the_reference(run):
    num_steps = 3000 if run.endswith("cbp") else 1000
    errors, events, _ = train(run, num_steps)
    assert_errors_agree(run, errors)
    if run.endswith("cbp"):
        assert_events_agree(run, events, num_steps)


@pytest.mark.parametrize("run", [run for run in RUNS if not run.endswith("linear")])
def test_all_errors_of_the_compiled_kernel_equal_those_of_the_reference(run):
    """Train 30,000 examples; continual backprop up to its first tie, which the kernel decides by the lowest index."""
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    learner, (inputs, targets) = learner_of(run), examples(run)
    part, losses = RegressionPart(learner), []
    part.kernel = recording_losses(part.kernel, losses)
    if run.endswith("snp"):
        part.number_blocks = lambda count: [(0, noise(run, count)[None].numpy())]
    if run.endswith("cbp"):
        numbers = torch.zeros(1, NUM_STEPS, 21)
        numbers[0, :, 20] = chances(run, NUM_STEPS)
        steps = golden()[f"{run}.event_step"]
        numbers[0, steps - 1, :20] = candidates(run, learner)
        part.number_blocks = lambda count: [(0, numbers.numpy())]
    part(Task([{}], inputs, targets))
    assert_errors_agree(run, np.concatenate(losses)[:, 0])


def recording_losses(kernel, losses):
    def run(*arguments):
        kernel(*arguments)
        losses.append(arguments[-1])

    return run


@pytest.mark.parametrize("name", ["bp_all", "cbp_all", "bp_one", "cbp_one"])
@pytest.mark.long
def test_the_mean_over_30_seeds_agrees_with_the_reference(name):
    """In all but one of 10 bins of 20,000 examples, means agree within 3 standard errors of their difference."""
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    values = CBP | {"replacement_rate": 1e-3} if name.startswith("cbp") else {"agent": "bp"}
    values |= {"step_size": 0.01, "num_tasks": 20, "flip_one": name.endswith("one"), "metrics": ["squared_error"]}
    spec, reports = Spec(problem="slowly_changing_regression", **values), []
    train_run(spec, Learner(spec, list(range(30)), CPU), CPU, reports.append)
    errors = np.array([one.metrics["squared_error"] for one in reports if one.metrics]).reshape(10, 2, 30).mean(1)
    expected = golden()[f"statistics.{name}"]
    error = np.sqrt(errors.var(1) / 30 + expected.var(1) / 30)
    assert (np.abs(errors.mean(1) - expected.mean(1)) > 3 * error).sum() <= 1
