"""Problems, metrics and methods of an installed package, before and after training."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from lop_engine.analysis import group_runs, protocol_differences, summarise, summarise_seed
from lop_engine.analysis.choice import choose
from lop_engine.analysis.groups import by_problem
from lop_engine.experiment import lookup
from lop_engine.experiment.registry import METHODS, METRICS, PROBLEMS
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import decide_resources, plan, resolve_runs
from lop_engine.launch.slurm.task import has_images
from lop_engine.launch.stack_sizes import run_bytes_on_gpu
from lop_engine.machine.devices import Gpus
from lop_engine.runs.directory import write_json
from lop_engine.runs.reading import RunsReader
from lop_engine.testing import check_component
from lop_engine.testing.rules import check_own_components
from tests.helpers import ROOT, append_tasks, make_run
from tests.methods import settings_of

SIZES = {"step_size": 0.01, "num_tasks": 40, "toy_examples": 50}


@pytest.fixture
def toys(monkeypatch):
    """Register the descriptions of tests/toy_package."""
    monkeypatch.syspath_prepend(ROOT / "tests/toy_package")
    for name in [name for name in sys.modules if name.partition(".")[0] == "toys"]:
        monkeypatch.delitem(sys.modules, name)
    from toys import descriptions

    for registry, one in (
        (PROBLEMS, descriptions.TOY_REGRESSION),
        (PROBLEMS, descriptions.TOY_STREAM),
        (PROBLEMS, descriptions.TOY_LONG),
        (METRICS, descriptions.TOY_RMSE),
        (METHODS, descriptions.TOY_DECAY),
    ):
        monkeypatch.setitem(registry.by_name, one.name, one)
    monkeypatch.setattr(lookup, "from_run_json", {kind: {} for kind in lookup.from_run_json})
    return descriptions


def toy_spec(problem="toy_regression", agent="bp", **changes) -> Spec:
    return Spec(problem=problem, agent=agent, **SIZES | changes)


def make_toy_run(runs_dir, name, spec, seed=0, **metrics):
    run = make_run(runs_dir, name, seed, num_tasks=spec.num_tasks, tasks_done=0)
    write_json(run.run_json, {"spec": spec.to_dict(), "seed": seed, "components": lookup.for_run_json(spec)})
    append_tasks(run, {name: np.array(values, dtype=float) for name, values in metrics.items()}, 0, spec.num_tasks)


def groups_in(runs_dir):
    return {group.label: group for group in group_runs(RunsReader(runs_dir).read().runs)}


def test_a_problem_without_files_is_resolved_without_images(toys):
    runs = [Run("fit", "default", seed, toy_spec()) for seed in range(2)]
    resolved = resolve_runs(runs)
    assert (resolved.runs, resolved.images, resolved.notes) == (runs, [], [])


def test_a_job_checks_images_only_for_problems_that_have_some(toys):
    assert not has_images(toy_spec())
    assert has_images(Spec(agent="bp", step_size=0.01, num_tasks=2, num_showings=3))


def test_the_lowest_value_is_best_for_a_metric_that_should_be_low(toys, tmp_path):
    falling, rising = np.linspace(2, 1, 40), np.linspace(1, 2, 40)
    make_toy_run(tmp_path, "falls", toy_spec(), toy_rmse=falling)
    make_toy_run(tmp_path, "rises", toy_spec(), toy_rmse=rising)
    groups = groups_in(tmp_path)
    assert choose(list(groups.values()), "toy_rmse").group.label == "falls"
    summary = summarise(groups["rises"])
    assert summary.best == pytest.approx(rising[:4].mean(), rel=1e-5)
    assert summary.lost == pytest.approx(rising[-4:].mean() - rising[:4].mean(), rel=1e-5)
    assert summarise_seed(groups["rises"].runs[0], "toy_rmse").best == summary.best
    accuracy = summarise(groups["rises"], "toy_rmse")
    assert accuracy.metric.better == "lower"
    assert lookup.metric("test_accuracy").better == "higher"


def test_runs_are_grouped_by_problem(toys, tmp_path):
    make_toy_run(tmp_path, "a", toy_spec(), toy_rmse=np.ones(40))
    make_toy_run(tmp_path, "b", toy_spec("toy_stream"), train_accuracy=np.ones(40))
    make_run(tmp_path, "c", 0)
    make_run(tmp_path, "c", 1)
    broken = make_run(tmp_path, "d", 0)
    broken.run_json.write_text("{]")
    problems = by_problem(RunsReader(tmp_path).read().runs)
    assert [(one.problem.name, [run.experiment for run in one.runs]) for one in problems] == [
        ("continual_imagenet", ["c", "c", "d"]),
        ("toy_regression", ["a"]),
        ("toy_stream", ["b"]),
    ]
    assert [one.metrics[:1] for one in problems] == [["train_accuracy"], ["toy_rmse"], ["train_accuracy"]]


def test_run_json_has_the_examples_and_steps_of_a_task(toys, tmp_path):
    make_toy_run(tmp_path, "fit", toy_spec(num_showings=2, mini_batch_size=4), toy_rmse=np.ones(40))
    make_toy_run(tmp_path, "stream", toy_spec("toy_stream"), train_accuracy=np.ones(40))
    for one in (toys.TOY_REGRESSION, toys.TOY_STREAM):
        del PROBLEMS.by_name[one.name]  # as in a view without the package
    groups = groups_in(tmp_path)
    assert (groups["fit"].x_per_task, groups["fit"].steps_per_task) == (100, 26)
    assert (groups["stream"].x_per_task, groups["stream"].steps_per_task) == (1, 13)


def spec_of(method: str, **changes) -> dict:
    return Spec(**{"step_size": 0.01, "num_tasks": 2, "num_showings": 3} | settings_of(method) | changes).to_dict()


@pytest.mark.parametrize("method", METHODS)
def test_keys_of_a_method_do_not_change_the_protocol(tmp_path, method):
    make_run(tmp_path, "a", spec=spec_of("bp"))
    make_run(tmp_path, "b", spec=spec_of(method))
    make_run(tmp_path, "c", spec=spec_of(method, num_showings=4))
    groups = groups_in(tmp_path)
    assert protocol_differences(groups["a"], groups["b"]) == {}
    assert protocol_differences(groups["b"], groups["a"]) == {}
    assert protocol_differences(groups["a"], groups["c"]) == {"num_showings": (3, 4)}


def test_keys_of_a_method_that_is_not_installed_do_not_change_the_protocol(toys, tmp_path):
    make_toy_run(tmp_path, "a", toy_spec(), toy_rmse=np.ones(40))
    make_toy_run(tmp_path, "b", toy_spec(agent="toy_decay", toy_rate=0.5), toy_rmse=np.ones(40))
    make_toy_run(tmp_path, "c", toy_spec(num_features=7), toy_rmse=np.ones(40))
    for registry, name in ((PROBLEMS, "toy_regression"), (METRICS, "toy_rmse"), (METHODS, "toy_decay")):
        del registry.by_name[name]
    groups = groups_in(tmp_path)
    assert protocol_differences(groups["a"], groups["b"]) == {}
    assert protocol_differences(groups["a"], groups["c"]) == {"num_features": (100, 7)}


def test_the_memory_of_a_gpu_is_planned_with_the_sizes_in_descriptions(toys, monkeypatch):
    assert run_bytes_on_gpu(toy_spec()) == 0
    shaped = replace(toys.TOY_STREAM, shapes=lambda spec: ((spec.toy_inputs,), 2))
    monkeypatch.setitem(PROBLEMS.by_name, "toy_stream", shaped)
    small, wide = (run_bytes_on_gpu(toy_spec("toy_stream", num_features=units)) for units in (10, 1000))
    assert 0 < small < 2**20 < wide
    assert wide > 4 * 2 * 1000 * 1000  # only its weights


def test_a_plan_notes_that_the_memory_of_a_run_is_unknown(toys, monkeypatch):
    monkeypatch.setattr(plan, "find_gpus", lambda: Gpus({"cuda:0": 2**36}))
    resources = decide_resources([toy_spec()] * 100, "auto", None, None)
    assert resources.runs_per_worker == 100
    assert "the memory of a run is unknown (problem toy_regression, network mlp)" in resources.note
    known = Spec(**{"step_size": 0.01, "num_tasks": 2, "num_showings": 3, "agent": "bp", "train_images": 600})
    assert decide_resources([known] * 100, "auto", None, None).note == ""


@pytest.mark.parametrize("name", ["TOY_REGRESSION", "TOY_STREAM", "TOY_LONG", "TOY_RMSE", "TOY_DECAY"])
def test_components_of_a_package_pass_the_rules(toys, name):
    settings = {"network": "mlp"} if name == "TOY_DECAY" else {"toy_examples": 20}
    check_component(getattr(toys, name), **({"problem": "toy_regression"} if name == "TOY_RMSE" else {}) | settings)


def test_runs_with_components_of_a_package_pass_the_check_at_start(toys):
    check_own_components(toy_spec(agent="toy_decay"))
    check_own_components(toy_spec("toy_stream", agent="cbp"))
