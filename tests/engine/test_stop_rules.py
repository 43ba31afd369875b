"""Rules that end runs: when they hold, what they leave on disk, and that a resumed run ends at the same task."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lop_engine.errors import ConfigError
from lop_engine.experiment.run import Run, load_runs
from lop_engine.experiment.spec import Spec, stack_key
from lop_engine.launch import prepare_run_dirs, take_up
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import RunFiles
from lop_engine.runs.rules import Watch, check_rules
from lop_engine.runs.store import read_table
from lop_engine.worker import stack
from tests.helpers import TINY

CPU = torch.device("cpu")
NUM_TASKS = 8


def spec_with(*rules: str, **changes) -> Spec:
    base = {"num_tasks": NUM_TASKS, "num_showings": 2, "checkpoint_every_s": 0, "stop_when": list(rules)}
    return Spec(**(TINY | base | changes))


def ended_after(spec: Spec, values: list[float | None], metric: str = "test_accuracy") -> int | None:
    """Return the task, from 1, after which a run with these values ends, or None if it does not."""
    watch = Watch(spec, RunDir(Path("runs/cbp/default/seed_003")))
    for task, value in enumerate(values):
        if watch.after_task({"task": task, metric: value}):
            return task + 1
    return None


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ("test_accuracy<0.55", [0.6, 0.5], 2),
        ("test_accuracy < 55%", [0.6, 0.5], 2),
        ("test_accuracy<0.55 for 3 tasks", [0.5, 0.5, 0.6, 0.5, 0.5, 0.5], 6),
        ("test_accuracy<0.55 for 3 tasks", [0.5, 0.5, None, 0.5, 0.5], None),
        ("test_accuracy<0.55 FOR 3 Tasks", [0.5, 0.5, 0.5], 3),
        ("test_accuracy<0.55 progress:>=50%", [0.5, 0.5, 0.5, 0.5], 4),
        ("test_accuracy<0.55 seed:3", [0.5], 1),
        ("test_accuracy<0.55 seed:4", [0.5], None),
        ("test_accuracy<0.55 step_size:0.02", [0.5], 1),
        ("test_accuracy:0.4-0.5 for 2 tasks", [0.3, 0.45, 0.5], 3),
        ("nan", [0.5, None], 2),
        ("nan for 2 tasks", [None, 0.5, None, None], 4),
        ("diverged", [0.5, None], 2),
    ],
)
def test_a_rule_ends_a_run_after_it_held_for_enough_tasks_in_a_row(rule, values, expected):
    assert ended_after(spec_with(rule), values) == expected


def test_the_rule_diverged_ends_a_run_whose_loss_is_finite_and_too_large():
    spec = spec_with("diverged", metrics=["train_loss", "test_accuracy"])
    assert ended_after(spec, [0.7, 2.0, 3e5, 2e6], "train_loss") == 4


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("test_acc<0.5", 'unknown key "test_acc"; did you mean "test_accuracy"'),
        ("test_accuracy<0.5 for 3 epochs", '"for" is not a condition'),
        ("test_accuracy<0.5 for 0 tasks", "for 0 tasks"),
        ("cbp", '"cbp" is not a condition'),
        ("seed:3", "names no metric"),
        ("state:running test_accuracy<0.5", "state is not known of a task"),
        ("test_accuracy<55", "share from 0 to 1"),
        ("train_loss>3", "do not record train_loss; add it to metrics, or use one of train_accuracy, test_accuracy, "),
        ("squared_error>3", "squared_error cannot be measured on Continual ImageNet"),
        ("test_accuracy<0.5 for 9 tasks", 'the runs have only 8 tasks; write "for 8 tasks" or fewer'),
        ("nan for 1000 tasks", "the runs have only 8 tasks"),
        ("test_accuracy>150%", "no value of test_accuracy meets test_accuracy>150% (it lies between 0 and 1)"),
        ("test_accuracy<0", "(it lies between 0 and 1)"),
        ("test_accuracy>1", "(it lies between 0 and 1)"),
        ("test_accuracy:-0.5", "(it lies between 0 and 1)"),
        ("-test_accuracy<=1", "(it lies between 0 and 1)"),
        ("test_accuracy<0.3 test_accuracy>0.5", "no value of test_accuracy meets test_accuracy<0.3 test_accuracy>0.5"),
        (
            "test_accuracy<0.5 progress:>=50% for 6 tasks",
            "progress:>=50% holds for only 5 tasks in a row; ask for fewer",
        ),
        ("test_accuracy<0.5 progress:<5%", "no task meets progress:<5%"),
    ],
)
def test_a_rule_that_could_never_hold_is_refused_by_name(rule, message):
    with pytest.raises(ConfigError, match=r'cfg/cbp.json: key "stop_when"') as refused:
        check_rules(spec_with(rule), "cfg/cbp.json")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "rule",
    [
        "test_accuracy<0.5 for 8 tasks",
        "nan for 8 tasks",
        "test_accuracy>=1",
        "test_accuracy<=0",
        "-test_accuracy<1",
        "test_accuracy:0.3,0.9",
        "test_accuracy>0.3 test_accuracy<0.301",
        "test_accuracy<0.5 progress:>=50% for 5 tasks",
        "test_accuracy<0.5 progress:<=50% for 4 tasks",
        "test_accuracy<0.5 seed:900",
    ],
)
def test_a_rule_that_may_hold_is_accepted(rule):
    check_rules(spec_with(rule), "cfg/cbp.json")


@pytest.mark.parametrize(
    ("cfg", "rule", "why"),
    [
        ("mnist/demo/bp", "online_accuracy<0.5 for 10 tasks", ""),
        ("mnist/demo/bp", "weight_magnitude>=0", ""),
        ("mnist/demo/bp", "dead_proportion>0.9", ""),
        ("mnist/bp", "train_loss<0", "no value of train_loss meets train_loss<0 .it is never below 0"),
        ("mnist/demo/bp", "effective_rank<0", "it is never below 0"),
        ("mnist/demo/bp", "test_accuracy<0.5", "test_accuracy cannot be measured on Online Permuted MNIST"),
        ("scr/demo/bp", "squared_error>3", ""),
        ("scr/demo/bp", "dead_proportion_2>0.5", "cannot be measured on .* with this network"),
        ("scr/demo/bp", "squared_error<-1", "it is never below 0"),
    ],
)
def test_rules_on_metrics_of_tasks_in_parts_are_checked(cfg, rule, why):
    spec = load_runs(Path(cfg), seeds=[0])[0].spec.with_changes(stop_when=[rule])
    with pytest.raises(ConfigError, match=why) if why else nullcontext():
        check_rules(spec, "--stop-when")


@pytest.mark.parametrize("value", ["", 5, [1], [""]])
def test_an_invalid_value_of_stop_when_is_refused(value):
    with pytest.raises(ConfigError, match="should be a list of rules"):
        spec_with().with_changes(stop_when=value)


def test_runs_with_different_rules_share_a_stack():
    assert stack_key(spec_with("nan")) == stack_key(spec_with())


class Study:
    """Three seeds in one stack, trained in this process, with the rules `rules` of each seed."""

    def __init__(self, runs_dir, *rules: list[str]) -> None:
        self.specs = [spec_with(*one) for one in rules]
        runs = [Run("cbp", "default", seed, spec) for seed, spec in enumerate(self.specs)]
        self.dirs = [RunDir.of(runs_dir, run) for run in runs]
        prepare_run_dirs(runs_dir, runs)

    def train(self, at_epoch: int | None = None, act=lambda: None) -> None:
        """Train queued runs; call `act` when the stack checks for a stop after epoch `at_epoch`, from 1."""
        pairs = [(run_dir, spec) for run_dir, spec in zip(self.dirs, self.specs, strict=True)]
        pairs = [(run_dir, spec) for run_dir, spec in pairs if run_dir.read_status().state == "queued"]
        files = [RunFiles(run_dir) for run_dir, _ in pairs]
        for run in files:
            run.set_status(state="running", num_tasks=NUM_TASKS, num_epochs=2)
        epochs = iter(range(1, 1000))

        def look() -> bool:
            if next(epochs) == at_epoch:
                act()
            return False

        stack.train_runs([spec for _, spec in pairs], files, CPU, look)

    def statuses(self) -> list[tuple]:
        of_runs = [run_dir.read_status() for run_dir in self.dirs]
        return [(one.state, one.rule, one.rule_task, one.tasks_done) for one in of_runs]

    def records(self) -> list[list]:
        return [[{**one, "seconds": 0} for path in one.records for one in read_table(path)] for one in self.dirs]


ALWAYS = "test_accuracy>=0 for 3 tasks"


def test_a_run_that_a_rule_ends_leaves_its_stack_and_the_others_train_as_before(tmp_path):
    alone, together = Study(tmp_path / "a", [], [], []), Study(tmp_path / "b", [], [ALWAYS], [])
    alone.train()
    together.train()
    assert together.statuses()[1] == ("ended-by-rule", ALWAYS, 3, 3)
    assert [status[0] for status in together.statuses()] == ["finished", "ended-by-rule", "finished"]
    whole, cut = alone.records(), together.records()
    assert (cut[0], cut[2]) == (whole[0], whole[2])
    tasks = read_table(together.dirs[1].tasks_json)
    assert len(tasks) == 3
    assert [{**one, "seconds": 0} for one in tasks] == whole[1][:3]


def test_a_rule_that_holds_after_the_last_task_does_not_end_the_run(tmp_path):
    study = Study(tmp_path, [f"test_accuracy>=0 for {NUM_TASKS} tasks"])
    study.train()
    assert study.statuses()[0][:2] == ("finished", None)


@pytest.mark.parametrize("at_epoch", [3, 4, 7, 9])
@pytest.mark.long
def test_a_run_killed_and_resumed_ends_by_the_same_rule_at_the_same_task(tmp_path, at_epoch):
    rules = [["test_accuracy>=0 for 5 tasks"], [], ["test_accuracy>=0 for 4 tasks"]]
    whole, killed = Study(tmp_path / "whole", *rules), Study(tmp_path / "killed", *rules)
    whole.train()

    class KilledError(BaseException):
        """Simulates a kill: the process writes nothing more."""

    def kill():
        raise KilledError

    with pytest.raises(KilledError):
        killed.train(at_epoch, kill)
    waiting = [one for one in killed.dirs if one.read_status().state == "running"]
    for run_dir in waiting:
        run_dir.write_status(replace(run_dir.read_status(), state="stopped"))
    take_up(waiting)
    killed.train()
    assert killed.statuses() == whole.statuses()
    assert killed.records() == whole.records()


def test_a_run_that_a_rule_ended_resumes_only_with_other_rules(tmp_path):
    study, whole = Study(tmp_path / "a", [ALWAYS]), Study(tmp_path / "whole", [])
    study.train()
    whole.train()
    assert prepare_run_dirs(tmp_path / "a", [Run("cbp", "default", 0, study.specs[0])]).to_train == []
    with pytest.raises(Exception, match="ended-by-rule"):
        take_up(study.dirs)
    take_up(study.dirs, rules=[])
    assert json.loads(study.dirs[0].run_json.read_text())["spec"]["stop_when"] == []
    status = study.dirs[0].read_status()
    assert (status.state, status.rule, status.rule_task) == ("queued", None, None)
    study.specs = [spec_with()]
    study.train()
    assert study.statuses()[0][0] == "finished"
    assert study.records() == whole.records()


def test_a_run_whose_weights_are_not_finite_has_diverged_with_and_without_a_rule(tmp_path, monkeypatch):
    spoilt = {"test_accuracy": math.nan, "train_accuracy": math.nan}
    real = stack.record_run

    def record(run, report, facts, metrics, watch):
        return real(run, report, facts, spoilt if report.task == 1 else metrics, watch)

    monkeypatch.setattr(stack, "record_run", record)
    study = Study(tmp_path, ["diverged"])
    study.train()
    assert study.statuses()[0][0] == "diverged"
