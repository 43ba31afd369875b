"""`lop bench`: measuring costs, caching them, and estimating hours from them."""

import json
import sys

import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from lop_engine.bench import costs, measure
from lop_engine.bench.child import Child
from lop_engine.bench.costs import Children, Costs, measure_costs, plan_seconds
from lop_engine.bench.jobs import PlainCurvature, PlainStep, step_gflop
from lop_engine.bench.online import PlainLearner
from lop_engine.errors import LaunchError
from lop_engine.experiment.spec import Spec, validate
from lop_engine.launch import Plan, Resources
from lop_engine.metrics.curvature import curvature, random_directions
from lop_engine.runs.directory import RunDir
from lop_engine.training.learner import Learner
from lop_tui import cli
from lop_tui.commands.bench import ON_DEMAND, PARTS
from lop_tui.words.plan import duration
from tests.helpers import TINY

SPEC = validate(TINY, "tiny")
ONE = Resources(["cpu"], 1, 1)


class InProcess:
    """Replace the child processes by one `Child` in this process."""

    started = 0

    def __init__(self, devices, threads, as_typed=False):
        self.devices, self.child = list(devices), Child(torch.device(devices[0]))
        InProcess.started += 1

    def __enter__(self):
        return self

    def __exit__(self, *ending):
        self.child.__exit__()

    def hello(self):
        return self.child.hello()

    def make(self, name, job, spec, num_seeds=1):
        return self.child.make(name, job, json.loads(json.dumps(spec.to_dict())), num_seeds)

    def run(self, name, count=1):
        return self.child.run(name, min(count, 2))["ms"]

    def memory(self):
        return self.child.memory()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def in_process(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in (costs, measure):
        monkeypatch.setattr(module, "Children", InProcess)
    InProcess.started = 0


def test_the_plain_baseline_takes_the_same_steps_as_the_learner():
    """Started from equal weights, both have the same losses and weights."""
    torch.manual_seed(0)
    plain = PlainStep(torch.device("cpu"))
    ours = {name: weight.detach().clone()[None] for name, weight in plain.net.named_parameters()}
    spec = Spec(agent="bp", step_size=0.01, momentum=0.9, num_tasks=1, num_showings=1)
    learner = Learner(spec, [0], torch.device("cpu"), params=ours)
    for _ in range(3):
        images, labels = torch.randn(10, 3, 32, 32), torch.randint(0, 2, (10,))
        expected = F.cross_entropy(plain.net(images), labels)
        plain(images, labels)
        torch.testing.assert_close(learner.step(images[None], labels[None]).loss_S[0], expected, rtol=1e-4, atol=1e-5)
    for name, weight in plain.net.named_parameters():
        torch.testing.assert_close(learner.params[name][0], weight, rtol=1e-3, atol=1e-5)


def test_the_plain_baseline_computes_the_same_curvature():
    torch.manual_seed(0)
    plain = PlainCurvature(torch.device("cpu"))
    learner = Learner(SPEC.with_changes(**{"width": 1.0}), [0], torch.device("cpu"))
    learner.params = {name: weight.detach()[None] for name, weight in plain.net.named_parameters()}
    images, labels = torch.randn(1, 40, 3, 32, 32), torch.randint(0, 2, (1, 40))
    directions = random_directions(images, [torch.Generator().manual_seed(0)])
    measured = curvature(learner.forward, learner.params, learner.problem.loss, images, labels, directions)
    assert plain(images[0], labels[0]).item() == pytest.approx(measured.item(), rel=0.05)


def test_step_gflop_counts_the_operations_of_the_network_of_the_paper():
    assert step_gflop(measure.paper_spec()) == pytest.approx(3.10, abs=0.01)
    assert step_gflop(measure.paper_spec("linear")) == pytest.approx(2 * 2 * 100 * 3072 * 2 / 1e9)


def test_the_time_of_a_run_is_the_sum_over_its_tasks_epochs_and_metrics():
    spec = SPEC.with_changes(**{"num_tasks": 10, "num_showings": 7, "metrics_every": 3})
    cost = Costs(start_s=5, task_s=1, epoch_s=2, metrics_s=4)
    assert cost.of_run(spec) == 10 * (1 + 7 * 2 + 3 * 4)  # after epochs 3, 6 and the last
    assert cost.of_run(spec.with_changes(**{"metrics_every": 0})) == 10 * (1 + 7 * 2 + 4)
    assert cost.share_of_metrics(spec) == pytest.approx(12 / 27)


@pytest.mark.parametrize(
    ("metrics_every", "curvature_every", "epochs"), [(1, 1, 7), (1, 3, 3), (2, 3, 2), (2, 1, 4), (1, 0, 1), (0, 1, 1)]
)
def test_the_curvature_is_charged_once_for_each_measurement(metrics_every, curvature_every, epochs):
    changes = {"metrics_every": metrics_every, "curvature_every": curvature_every}
    spec = SPEC.with_changes(**{"num_tasks": 10, "num_showings": 7, **changes})
    assert Costs(0, 0, 0, 0, curvature_s=1).of_run(spec) == 10 * epochs
    assert sum("curvature" in spec.metrics_after(epoch) for epoch in range(7)) == epochs


def test_the_time_of_a_plan_ends_with_its_last_worker(tmp_path):
    dirs = [RunDir(tmp_path / str(i)) for i in range(3)]
    slow, fast = SPEC, SPEC.with_changes(**{"agent": "bp"})
    of = {slow: Costs(1, 0, 10 / 3, 0), fast: Costs(1, 0, 1, 0)}  # three tasks of one epoch: 10 s and 3 s
    specs = dict(zip(dirs, (fast, slow, fast), strict=True))
    plan = Plan([[run_dir] for run_dir in dirs], Resources(["cpu"] * 2, 1, 1))
    assert plan_seconds(plan, specs, of) == pytest.approx(11)  # the other worker trains both fast runs: 8 s
    alone = Plan(plan.stacks, ONE)
    assert plan_seconds(alone, specs, of) == pytest.approx(4 + 11 + 4)


def test_costs_are_measured_once_and_cached(in_process, tmp_path):
    messages = []
    first = measure_costs([SPEC, SPEC], ONE, messages.append, directory=tmp_path)
    assert InProcess.started == len(messages) == 1
    cost = first[SPEC]
    assert 0 < cost.epoch_s < 10
    assert 0 < cost.metrics_s < 10
    longer = SPEC.with_changes(**{"num_tasks": 99, "step_size": 0.5})
    assert measure_costs([longer], ONE, messages.append, directory=tmp_path) == {longer: cost}
    assert InProcess.started == 1
    measure_costs([SPEC], Resources(["cpu"], 1, 2), messages.append, directory=tmp_path)
    measure_costs([SPEC], ONE, messages.append, fresh=True, directory=tmp_path)
    assert InProcess.started == 3


def test_on_a_gpu_an_epoch_is_timed_in_the_other_precisions_too(in_process, tmp_path, monkeypatch):
    class ChildOfGpu(InProcess):
        def __init__(self, devices, threads, as_typed=False):
            super().__init__(["cpu"], threads, as_typed)

    monkeypatch.setattr(costs, "Children", ChildOfGpu)
    spec = SPEC.with_changes(**{"precision": "bf16"})
    [cost] = measure_costs([spec], Resources(["cuda:0"], 1, 1), str, directory=tmp_path).values()
    assert list(cost.rounded_epoch_s) == ["tf32"]
    one_epoch = spec.with_changes(**{"num_tasks": 1, "num_showings": 1, "metrics_every": 0, "precision": "tf32"})
    parts = cost.task_s, cost.rounded_epoch_s["tf32"], cost.metrics_s, cost.curvature_s
    assert cost.of_run(one_epoch) == pytest.approx(sum(parts))
    assert measure_costs([spec], Resources(["cuda:0"], 1, 1), str, directory=tmp_path)[spec] == cost  # from the cache


def test_cached_costs_that_are_old_or_damaged_are_measured_again(in_process, tmp_path, monkeypatch):
    measure_costs([SPEC], ONE, str, directory=tmp_path)
    cache = tmp_path / "costs.json"
    for damage in (
        "",
        "[]",
        '{"a": 1}',
        cache.read_text()[:-9],
        cache.read_text().replace("measured_at", "at"),
        cache.read_text().replace("curvature_s", "x"),
    ):
        cache.write_text(damage)
        measure_costs([SPEC], ONE, str, directory=tmp_path)
    assert InProcess.started == 7
    now = costs.time.time()
    monkeypatch.setattr(costs.time, "time", lambda: now + 25 * 3600)
    measure_costs([SPEC], ONE, str, directory=tmp_path)
    assert InProcess.started == 8


def test_the_cost_of_the_curvature_is_extrapolated_from_a_part_of_the_images():
    requests = []

    def seconds(job, **changes):
        requests.append(changes)
        return 1.0 if changes.get("metrics") == ("curvature",) else 0.25

    spec = measure.paper_spec()
    assert costs.metrics_seconds(spec, seconds) == pytest.approx((0.25, 12 * 1.0))
    assert requests[-1]["curvature_images"] == 100
    assert costs.metrics_seconds(spec.with_changes(**{"curvature_images": 50}), seconds) == (0.25, 1.0)
    assert costs.metrics_seconds(spec.with_changes(**{"metrics": ("srank",)}), seconds) == (0.25, 0.0)


def test_the_curvature_is_timed_even_if_curvature_every_is_0(in_process, tmp_path):
    spec = SPEC.with_changes(**{"num_showings": 5, "curvature_every": 0})
    assert measure_costs([spec], ONE, str, directory=tmp_path)[spec].curvature_s > 0


@pytest.mark.long
def test_child_processes_measure_in_parallel_and_report_their_errors():
    with Children(["cpu", "cpu"], 1) as children:
        assert children.hello()["torch"] == torch.__version__
        children.make("step", "step", SPEC)
        assert 0 < children.run("step", 2) < 1000
        assert children.memory()["bytes"] > 50e6
        with pytest.raises(LaunchError, match="no_such_job"):
            children.make("x", "no such job", SPEC)
        children.processes[1].kill()
        with pytest.raises(LaunchError, match="the child process ended"):
            children.run("step")


@pytest.mark.long
def test_lop_bench_measures_every_part_and_prints_tables_or_json(in_process, tmp_path, monkeypatch):
    """Run all parts in this process, with networks an eighth as wide."""
    paper = measure.paper_spec
    small = {"width": 0.125, "mini_batch_size": 10, "num_tasks": 2, "train_images": 20, "test_images": 10}
    monkeypatch.setattr(measure, "STACKS", {"cpu": (1, 2)})
    monkeypatch.setattr(measure, "paper_spec", lambda method="bp", **changes: paper(method, **{**small, **changes}))
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(TINY | {"num_runs": 3}))
    arguments = ["bench", str(config), "--rounds", "2", "--device", "cpu"]
    result = CliRunner().invoke(cli.app, [*arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(PARTS) - set(ON_DEMAND) == set(report) - {"device", "precision", "measured_at", "lop"}
    steps = {row["name"]: row for row in report["steps"]["rows"]}
    assert {"plain", "bp x 1", "linear x 1", "cbp2 x 2", "matrix product"} <= set(steps)
    assert steps["plain"]["speed_over_plain"] == 1
    assert all(row["low_ms"] <= row["ms"] <= row["high_ms"] for row in report["steps"]["rows"])
    [hours] = report["hours"]["rows"]
    assert (hours["name"], hours["runs"]) == ("tiny", 3)
    assert hours["hours_measured_once_a_task"] == pytest.approx(hours["hours"])  # TINY measures once a task too
    shown = CliRunner().invoke(cli.app, [*arguments, "--only", "metrics", "--only", "upkeep", "--only", "hours"])
    assert shown.exit_code == 0, shown.stderr
    for words in ("times as fast as plain", "one record", "tiny"):
        assert words in shown.stdout
    assert "training step" not in shown.stdout


def test_lop_bench_methods_compares_the_step_of_each_method_with_bp(in_process, monkeypatch):
    monkeypatch.setattr(measure, "METHODS_BY_NAME", ["bp", "cbp", "snr"])
    arguments = ["bench", "--methods", "--rounds", "1", "--device", "cpu"]
    result = CliRunner().invoke(cli.app, [*arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert [row["name"] for row in report["methods"]["rows"]] == ["bp", "cbp", "snr"]
    assert report["methods"]["rows"][0]["over_bp"] == 1
    assert "steps" not in report
    assert "/ bp" in CliRunner().invoke(cli.app, arguments).stdout


def test_lop_bench_problem_compares_stacks_with_a_plain_loop(in_process, monkeypatch):
    monkeypatch.setitem(measure.ONLINE, "scr", ({"flip_after": 400}, (1, 3)))
    arguments = ["bench", "--problem", "scr", "--rounds", "1", "--device", "cpu"]
    result = CliRunner().invoke(cli.app, [*arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    rows = {row["name"]: row for row in json.loads(result.stdout)["online"]["rows"]}
    assert list(rows) == ["bp", "bp x 1", "bp x 3", "cbp", "cbp x 1", "cbp x 3"]
    assert rows["cbp"]["speed_over_plain"] == 1
    assert rows["bp x 3"]["examples"] == 1200
    assert rows["bp x 3"]["us"] == pytest.approx(1000 * rows["bp x 3"]["ms"] / 1200)
    assert "cbp, plain loop" in CliRunner().invoke(cli.app, arguments).stdout


@pytest.mark.parametrize("method", ["bp", "cbp"])
def test_the_plain_loop_of_an_online_problem_learns_and_replaces_units(method):
    """The loop that stacks are compared with really trains: losses fall, and CBP replaces units."""
    more = {"replacement_rate": 0.05, "maturity_threshold": 10} if method == "cbp" else {}
    spec = measure.online_spec("scr", method).with_changes(**more)
    plain = PlainLearner(spec, torch.device("cpu"))
    x = torch.randint(0, 2, (300, 20), generator=torch.Generator().manual_seed(0)).float()
    for one in x:
        plain(one, one[:3].sum(0, keepdim=True))
    assert sum(plain.losses[-50:]) < 0.5 * sum(plain.losses[:50])
    if method == "cbp":
        assert plain.age[0].max() > plain.age[0].min()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problem", "pmnist"], "choose scr, mnist"),
        (["--only", "stepz"], 'did you mean "steps"'),
        (["--precision", "fp8"], "choose fp32, tf32, bf16"),
        (["nowhere.json"], "nowhere.json: no such file"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_measured(in_process, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["lop", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not InProcess.started


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (119, "119 s"),
        (121, "2.0 min"),
        (3000, "50 min"),
        (2e6, "23 days"),
        (2e5, "2.3 days"),
    ],
)
def test_a_duration_has_about_two_digits(seconds, text):
    assert duration(seconds) == text
