"""Published levels are shown only for published settings."""

from pathlib import Path

import pytest

from lop_engine.experiment.run import load_runs
from lop_engine.reproduction.claims import published_levels

CFG = Path(__file__).parents[2] / "cfg"


def specs(path):
    return [run.spec.to_dict() for run in load_runs(path, seeds=[0])]


def levels(spec):
    return [(level.task, round(100 * level.value, 2)) for level in published_levels(spec)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bp", [[(25.5, 84.3), (1975.5, 74)], [(25.5, 83.3), (1975.5, 78.7)], [(1975.5, 78.4)]]),
        ("linear", [[(25.5, 77.1), (1975.5, 77.1)]]),
        ("l2", [[(25.5, 85.2), (1975.5, 88), (4975.5, 89.15)]]),
        ("snp", [[(25.5, 84.4), (1975.5, 87.9), (4975.5, 89.2)]]),
        ("cbp", [[(25.5, 84.5), (1975.5, 88.8), (4975.5, 90.45)]]),
        ("cbp2", [[]]),  # the paper has no figure of cbp2
    ],
)
def test_the_files_of_the_paper_have_its_levels(name, expected):
    assert [levels(spec) for spec in specs(CFG / f"{name}.json")] == expected
    resolved = {"train_images": 600, "test_images": 100, "normalisation": "scaled", "dataset_sha256": "0" * 64}
    assert [levels(spec | resolved) for spec in specs(CFG / f"{name}.json")] == expected


@pytest.mark.parametrize("path", sorted((CFG / "demo").glob("*.json")), ids=lambda path: path.stem)
def test_the_compressed_protocol_has_no_levels(path):
    assert not any(map(levels, specs(path)))


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "synthetic"},
        {"opt": "adam"},
        {"step_size": 0.02},
        {"momentum": 0.8},
        {"weight_decay": 1e-6},
        {"replacement_rate": 1e-4},
        {"util_type": "contribution"},
        {"maturity_threshold": 1000},
        {"decay_rate": 0.9},
        {"budget_accrual": "eligible"},
        {"net_type": 2},
        {"num_showings": 100},
        {"mini_batch_size": 50},
        {"num_classes": 5},
        {"new_heads": False},
        {"width": 0.5},
        {"train_images": 500},
        {"num_tasks": 20},
        {"no_such_key": 1},
        {"num_tasks": "many"},
    ],
    ids=str,
)
def test_another_setting_has_no_levels(change):
    (spec,) = specs(CFG / "cbp.json")
    assert levels(spec)
    assert not levels(spec | change)


def test_another_strength_of_the_noise_has_no_levels():
    (spec,) = specs(CFG / "snp.json")
    assert levels(spec)
    assert not levels(spec | {"perturb_scale": 1e-4})


def test_keys_without_effect_on_results_do_not_matter():
    (spec,) = specs(CFG / "cbp.json")
    change = {"metrics_every": 0, "num_runs": 3, "metrics": ("test_accuracy",), "dataset": "/data/imagenet32"}
    assert levels(spec | change) == levels(spec)
    assert levels(spec | {"perturb_scale": 1e-5}) == levels(spec)  # a key of another method, as in old run.json files


def test_levels_end_at_the_last_task_of_the_run():
    (spec,) = specs(CFG / "cbp.json")
    assert levels(spec | {"num_tasks": 2000}) == levels(spec)[:2]


def test_an_unreadable_spec_has_no_levels():
    assert published_levels({}) == ()
