"""Tasks in parts: a long online task stops and resumes within the task, and its record covers the whole task."""

import sys

import pytest
import torch

from lop_engine.errors import ConfigError
from lop_engine.experiment.registry import METRICS, PROBLEMS
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec, validate
from lop_engine.launch import prepare_run_dirs
from lop_engine.metrics.ranks import effective_rank, singular_values
from lop_engine.problems import build_problem
from lop_engine.runs.files import RunFiles
from lop_engine.runs.store import read_table
from lop_engine.training.learner import Learner
from lop_engine.training.loop import Position, train
from lop_engine.worker import checkpoint
from lop_engine.worker.stack import train_runs
from tests.helpers import ROOT

CPU = torch.device("cpu")
SMALL = {
    "problem": "toy_long",
    "num_tasks": 2,
    "toy_examples": 100,
    "toy_part": 24,
    "checkpoint_every_s": 0.0,
    "num_hidden_layers": 1,
}
CBP = {"agent": "cbp", "step_size": 0.1, "replacement_rate": 0.05, "maturity_threshold": 5, "num_features": 6}
METHODS = pytest.mark.parametrize(
    "method", [CBP, CBP | {"opt": "adam", "step_size": 0.01}, {"agent": "snp", "step_size": 0.1, "perturb_scale": 0.01}]
)


class KilledError(Exception):
    """Simulates a kill, after which nothing is written."""


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests/toy_package")
    for name in [name for name in sys.modules if name.partition(".")[0] == "toys"]:
        monkeypatch.delitem(sys.modules, name)
    from toys import descriptions

    monkeypatch.setitem(PROBLEMS.by_name, "toy_long", descriptions.TOY_LONG)
    return descriptions


def prepared(directory, values, seeds):
    spec = Spec(**SMALL | values)
    return spec, prepare_run_dirs(directory, [Run("toy", "default", seed, spec) for seed in seeds]).to_train


def train_dirs(spec, run_dirs, kill_after=None):
    """Train runs; after `kill_after` parts the process dies before it writes that part's checkpoint."""
    parts = iter(range(1, 1000))

    def stop_requested():
        if next(parts) == kill_after:
            raise KilledError
        return False

    train_runs([spec] * len(run_dirs), [RunFiles(run_dir) for run_dir in run_dirs], CPU, stop_requested)


def without_seconds(path):
    return [{key: value for key, value in one.items() if key != "seconds"} for one in read_table(path)]


def records(run_dir):
    return [without_seconds(path) for path in run_dir.records]


@METHODS
@pytest.mark.parametrize("seeds", [(3,), (3, 4, 5)])
def test_a_run_killed_within_a_task_resumes_to_the_same_records(tmp_path, method, seeds):
    spec, whole = prepared(tmp_path / "whole", method, seeds)
    train_dirs(spec, whole)
    for kill_after in (1, 3, 7):
        spec, broken = prepared(tmp_path / f"broken{kill_after}", method, seeds)
        with pytest.raises(KilledError):
            train_dirs(spec, broken, kill_after)
        at = checkpoint.load(broken[0].checkpoint).position
        assert at == Position(*divmod(kill_after - 1, 5))
        train_dirs(spec, broken)
        for one, other in zip(whole, broken, strict=True):
            assert records(one) == records(other)
            tensors, others = (checkpoint.load(run.checkpoint).tensors for run in (one, other))
            assert tensors.keys() == others.keys()
            assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_a_seed_records_the_same_in_a_stack_as_alone(tmp_path):
    spec, alone = prepared(tmp_path / "alone", CBP, (4,))
    train_dirs(spec, alone)
    spec, stack = prepared(tmp_path / "stack", CBP, (3, 4, 5))
    train_dirs(spec, stack)
    for mine, theirs in zip(records(alone[0])[0], records(stack[1])[0], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


def test_the_record_of_a_task_covers_all_its_steps_and_its_start(toys):
    spec = Spec(**SMALL | CBP)
    learner = Learner(spec, [0, 1], CPU)
    step, start, tasks = learner.step, learner.start_task, []

    def observed(inputs, targets):
        result = step(inputs, targets)
        tasks[-1]["steps"].append((inputs, result.loss_S, result.score_S))
        return result

    def started(index, task):
        start(index, task)
        tasks.append({"params": {name: one.detach().clone() for name, one in learner.params.items()}, "steps": []})

    learner.step, learner.start_task = observed, started
    reports = []
    train(spec, learner, CPU, reports.append)
    recorded = [one.metrics for one in reports if one.metrics]
    assert len(reports) == 10
    assert [(one.task, one.epoch) for one in reports if one.metrics] == [(0, 0), (1, 0)]
    assert [one.task_seconds is not None for one in reports] == [one.metrics is not None for one in reports]
    for metrics, task in zip(recorded, tasks, strict=True):
        inputs, losses, scores = zip(*task["steps"], strict=True)
        assert len(inputs) == 25
        assert metrics["train_loss"] == pytest.approx(torch.stack(losses).mean(0).tolist())
        assert metrics["train_accuracy"] == pytest.approx(torch.stack(scores).mean(0).tolist())
        hidden = learner.forward(task["params"], torch.cat(inputs, 1)[:, :30]).hidden[-1].activation
        assert metrics["effective_rank"] == pytest.approx(effective_rank(singular_values(hidden)).tolist(), rel=1e-5)
        assert metrics["dead_proportion"] == pytest.approx((hidden == 0).all(1).float().mean(1).tolist())


def test_a_run_that_diverges_within_a_task_has_no_metrics(toys):
    spec = Spec(**SMALL | CBP | {"step_size": 1e30})
    reports = []
    train(spec, Learner(spec, [0], CPU), CPU, reports.append)
    assert all(one.metrics is None or str(set(map(str, one.metrics.values()))) == "{'[nan]'}" for one in reports)


@pytest.mark.parametrize(
    ("batch", "part", "parts", "steps"), [(4, 24, 5, 6), (5, 24, 5, 4), (30, 24, 4, 1), (4, 500, 1, 25)]
)
def test_parts_consist_of_complete_batches(batch, part, parts, steps):
    spec = Spec(**SMALL | CBP | {"mini_batch_size": batch, "toy_part": part})
    assert (spec.num_parts, spec.steps_per_part) == (parts, steps)
    losses = []
    learner = Learner(spec, [0], CPU)
    step = learner.step
    learner.step = lambda *batch: losses.append(0) or step(*batch)
    train(spec, learner, CPU, lambda report: None)
    assert len(losses) == spec.num_tasks * spec.steps_per_task


def test_steps_are_counted_through_parts_and_tasks():
    spec = Spec(**SMALL | CBP)
    learner = Learner(spec, [0], CPU)
    learner.start_epoch(1, 2)
    assert learner.method.step == 25 + 12


def test_several_showings_of_a_task_in_parts_are_refused():
    with pytest.raises(ConfigError, match='key "num_showings": 2: should be 1, because problem toy_long shows each'):
        validate(SMALL | CBP | {"num_showings": 2}, "toy.json")


def test_start_metrics_of_built_in_problems_do_not_depend_on_steps():
    for problem in PROBLEMS.values():
        for name in problem.start_metrics:
            assert set(METRICS[name].takes) <= {"hidden", "spectrum", "params"}, name


def test_a_part_depends_only_on_its_number():
    problem = build_problem(Spec(**SMALL | CBP))
    first = next(problem.tasks([0, 1], CPU))
    again = next(problem.tasks([1], CPU))
    assert torch.equal(first.part(3).train_inputs[1], again.part(3).train_inputs[0])
    assert first.part(4).train_inputs.shape == (2, 4, 5)
