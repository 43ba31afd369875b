"""The published results of Online Permuted MNIST, tested on generated runs."""

from pathlib import Path

import numpy as np
import pytest

from lop_engine.analysis import Group
from lop_engine.experiment.run import load_runs
from lop_engine.reproduction.permuted_mnist import LEVELS
from lop_engine.reproduction.verdicts import judge
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView


def group(name: str, shift: float = 0.0, **changes) -> Group:
    """Return five seeds of a published setting whose accuracies are the published ones plus `shift`."""
    step_size, width, by_task = LEVELS[name]
    own = {"step_size": step_size, "num_features": width, "dataset": "/mnist"} | changes
    spec = load_runs(Path("mnist/bp"), seeds=[0], overrides=own)[0].spec.to_dict()
    tasks = np.arange(1, max(by_task) + 1)
    accuracies = np.interp(tasks, list(by_task), list(by_task.values())) / 100 + shift
    runs = [
        RunView(
            RunDir(Path("runs") / name / "default" / f"seed_{seed:03d}"),
            spec,
            RunStatus(),
            "finished",
            {"online_accuracy": accuracies + 0.001 * (seed - 2)},
        )
        for seed in range(5)
    ]
    return Group(name, "default", tuple(runs))


def outcomes(*groups: Group):
    findings, notes = judge(groups)
    return {one.claim.text: one.outcome for finding in findings for one in finding.verdicts}, notes


def test_the_published_levels_reproduce_every_claim():
    verdict_of, notes = outcomes(*map(group, LEVELS))
    assert set(verdict_of.values()) == {"reproduced"}
    assert len(verdict_of) == sum(len(levels) for _, _, levels in LEVELS.values()) + 3
    assert not notes


def test_other_levels_are_not_reproduced():
    verdict_of, _ = outcomes(group("bp 0.01", shift=-0.02))
    assert verdict_of["bp 0.01 has 90.24 %, task 800"] == "not reproduced"
    assert verdict_of["bp 0.01 loses: less at task 800 than at task 11"] == "reproduced"
    assert verdict_of["bp 0.003 has 93.69 %, task 800"] == "not enough data"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dataset": "synthetic"}, "dataset is synthetic, not MNIST"),
        ({"change_after": 5000}, "change_after is 5000, not 60000"),
    ],
)
def test_runs_of_another_protocol_are_not_judged(changes, why):
    verdict_of, notes = outcomes(group("bp 0.01", **changes))
    assert not verdict_of
    assert why in str(notes[0])
