"""The claims of the paper and the demo, tested on generated runs."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lop_engine.analysis import Group
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.run import load_runs
from lop_engine.reproduction import continual_imagenet
from lop_engine.reproduction.continual_imagenet import BINS, DEMO, PAPER, PROTOCOLS, PUBLISHED
from lop_engine.reproduction.verdicts import judge
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView
from tests.helpers import ROOT

CFG = ROOT / "cfg"


def spec_of(setting, folder=CFG):
    """Return the spec of a setting like ``bp 0.001`` from the files of `cfg`."""
    method, _, step_size = setting.partition(" ")
    overrides = {"step_size": float(step_size)} if step_size else {}
    return load_runs(folder / f"{method}.json", seeds=[0], overrides=overrides)[0].spec.to_dict()


def seeds(name, spec, rows):
    """Return a group whose seeds have these test accuracies, one row for each seed."""
    runs = [
        RunView(RunDir(Path("runs") / name / "default" / f"seed_{seed:03d}"), spec, RunStatus(), "finished", series)
        for seed, series in enumerate({"test_accuracy": np.array(row, dtype=float)} for row in rows)
    ]
    return Group(name, "default", tuple(runs))


def course(setting, num_seeds=6, shift=0.0, spread=0.002, **changes):
    """Return seeds of a published setting whose accuracies are the published levels plus `shift`."""
    spec = spec_of(setting) | changes
    accuracies = next(one.accuracies for one in PUBLISHED if one.name == setting)
    known = [(task, level / 100) for task, level in zip(BINS.values(), accuracies, strict=True) if level]
    known = [(25.5, 0.65), *known] if setting == "bp 0.0001" else known
    tasks = np.arange(1, spec["num_tasks"] + 1)
    # Constant within a bin, so that a bin's mean is its level.
    nearest = np.abs(tasks[:, None] - np.array([task for task, _ in known])).argmin(1)
    level = np.array([level for _, level in known])[nearest] + shift
    return seeds(setting, spec, level + spread * np.linspace(-1, 1, num_seeds)[:, None])


def outcomes(*groups):
    findings, unjudged = judge(groups)
    return {verdict.claim.text: verdict for finding in findings for verdict in finding.verdicts}, notes_of(unjudged)


def notes_of(unjudged):
    return tuple(map(str, unjudged))


def test_the_published_levels_reproduce_all_claims_of_the_paper():
    verdict_of, notes = outcomes(*(course(one.name) for one in PUBLISHED))
    assert {text: one.outcome for text, one in verdict_of.items() if one.outcome != "reproduced"} == {}
    assert len(verdict_of) == len(PAPER.claims)
    assert notes == ()


def test_every_published_level_is_a_claim():
    levels = [claim for claim in PAPER.claims if claim.level is not None]
    assert len(levels) == sum(level is not None for one in PUBLISHED for level in one.accuracies)
    assert {(claim.of.window.first, claim.of.window.last) for claim in levels} == {(1, 50), (1951, 2000), (4951, 5000)}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_claims_are_about_settings_of_their_protocol(protocol):
    parts = [part for claim in protocol.claims for part in (claim.of, claim.minus) if part]
    assert {part.setting for part in parts} <= protocol.settings.keys()
    assert len({claim.text for claim in protocol.claims}) == len(protocol.claims)


@pytest.mark.parametrize(
    ("shift", "spread", "num_seeds", "expected"),
    [
        (0.004, 0.001, 30, "reproduced"),  # within half a point
        (0.008, 0.001, 30, "not reproduced"),
        (0.008, 0.02, 6, "reproduced"),  # possible for six seeds with this spread
        (0, 0.05, 6, "not enough data"),  # too much spread for a decision, at any level
        (0.2, 0.05, 6, "not reproduced"),
        (0, 0.001, 4, "not enough data"),
    ],
)
def test_a_level_is_reproduced_within_its_margin(shift, spread, num_seeds, expected):
    verdict_of, _ = outcomes(course("linear", num_seeds, shift, spread))
    assert verdict_of["linear has 77.1 %, about task 2000"].outcome == expected


def test_equal_true_levels_agree_in_95_percent():
    rng = np.random.default_rng(0)
    spread, agreed = 0.04, 0
    for _ in range(300):
        truth = 0.771 - rng.normal(0, spread, 30).mean()  # the seeds of the paper are a sample too
        rows = truth + rng.normal(0, spread, (30, 1)) + np.zeros((30, 50))
        verdict_of, _ = outcomes(seeds("linear", spec_of("linear") | {"num_tasks": 50}, rows))
        agreed += verdict_of["linear has 77.1 %, tasks 1-50"].outcome != "not reproduced"
    assert 0.93 < agreed / 300 <= 1


def test_a_claim_without_enough_data_says_what_it_lacks():
    short = seeds("bp", spec_of("bp 0.01"), [[0.843] * 60] * 7)
    verdict_of, _ = outcomes(short, course("linear", 3))
    assert verdict_of["bp 0.01 has 84.3 %, tasks 1-50"].outcome == "reproduced"
    assert verdict_of["bp 0.01 has 74 %, about task 2000"].why == "0 seeds to task 2000, of 5 at least"
    assert verdict_of["linear has 77.1 %, tasks 1-50"].why == "3 seeds to task 50, of 5 at least"
    assert verdict_of["cbp is above bp 0.001 at task 2000"].missing == ("cbp", "bp 0.001")


def test_an_order_is_not_reproduced_if_the_interval_shows_the_opposite():
    above = seeds("bp", spec_of("bp 0.01"), np.full((6, 2000), 0.8) + 0.001 * np.arange(6)[:, None] ** 2)
    verdict_of, _ = outcomes(above, course("linear"))
    assert verdict_of["linear is above bp 0.01 at task 2000"].outcome == "not reproduced"
    unsure = seeds("bp", spec_of("bp 0.01"), np.full((6, 2000), 0.771) + 0.1 * np.linspace(-1, 1, 6)[:, None])
    verdict_of, _ = outcomes(unsure, course("linear"))
    assert verdict_of["linear is above bp 0.01 at task 2000"].outcome == "not enough data"


def test_the_protocol_is_recognised_by_the_spec_and_not_by_the_name():
    misnamed = course("cbp")
    findings, notes = judge([Group("mine", "default", misnamed.runs)])
    assert findings[0].protocol is PAPER
    assert Counter(one.outcome for one in findings[0].verdicts)["reproduced"] == 5  # three levels, each twice
    assert notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_showings": 100}, "not the protocol of Dohare et al. 2024: num_showings is 100, not 250"),
        ({"dataset": "synthetic"}, "dataset is synthetic, not ImageNet"),
        ({"opt": "adam"}, "opt is adam, not sgd; it has no momentum"),
        ({"step_size": 0.02}, "Dohare et al. 2024 has no claim about it; unlike cbp: step_size is 0.02"),
        ({"net_type": 2}, "has no claim about it"),
        ({"num_tasks": "many"}, "its run.json holds no spec"),
    ],
    ids=str,
)
def test_runs_outside_the_protocol_get_a_note_with_the_key_that_differs(change, message):
    findings, notes = judge([seeds("cbp", spec_of("cbp") | change, [[0.8]])])
    assert message in str(notes[0])
    assert not any(one.outcome != "not enough data" for finding in findings for one in finding.verdicts)


def test_the_larger_of_two_groups_of_a_setting_is_judged():
    small, large = course("linear", 2), course("linear", 8)
    verdict_of, notes = outcomes(Group("few", "default", small.runs), Group("many", "default", large.runs))
    assert verdict_of["linear has 77.1 %, tasks 1-50"].measured.num_values == 8
    assert notes == ("few: the same setting as many, which is judged",)


def demo(name, first, last):
    rows = [np.linspace(start, end, 150) for start, end in zip(first, last, strict=True)]
    return seeds(name, spec_of(name, CFG / "demo"), rows)


def test_the_claims_of_the_demo_must_hold_for_each_seed():
    verdict_of, _ = outcomes(demo("bp", (0.83, 0.8), (0.5, 0.6)), demo("cbp", (0.8, 0.8), (0.81, 0.76)))
    assert {one.outcome for one in verdict_of.values()} == {"reproduced"}
    assert len(verdict_of) == len(DEMO.claims)
    verdict_of, _ = outcomes(demo("bp", (0.83, 0.8), (0.5, 0.78)), demo("cbp", (0.8, 0.8), (0.6, 0.5)))
    assert [one.outcome for one in verdict_of.values()] == ["not enough data", "not reproduced", "not reproduced"]
    assert verdict_of["cbp is above bp in the last tenth"].why == "1 of 2 seeds"
    verdict_of, _ = outcomes(demo("bp", [0.8], [0.5]))
    assert {one.outcome for one in verdict_of.values()} == {"not enough data"}


def test_a_seed_that_diverged_is_not_counted():
    broken = demo("cbp", (0.8, 0.8, 0.8), (0.8, 0.8, 0.8))
    broken.runs[2].series["test_accuracy"][140:] = math.nan
    verdict_of, _ = outcomes(broken)
    assert verdict_of["cbp keeps: no 10 points lost from the first tenth to the last"].measured.num_values == 2


def test_runs_of_a_problem_are_tested_only_against_its_own_claims():
    spec = spec_of("cbp") | {"problem": "toy"}
    findings, notes = judge([seeds("cbp", spec, [[0.9] * 50] * 6), course("linear")])
    assert [finding.protocol for finding in findings] == [PAPER]
    assert [one for one in notes_of(notes) if "cbp" in one] == ["cbp: no results are published for problem toy"]
    verdicts, notes = judge([seeds("cbp", spec, [[0.9] * 50] * 6)])
    assert (verdicts, notes_of(notes)) == ((), ("cbp: no results are published for problem toy",))
    assert CONTINUAL_IMAGENET.claims == continual_imagenet.__name__
