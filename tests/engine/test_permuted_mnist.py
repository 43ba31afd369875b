"""Online permuted MNIST: its tasks, its generated digits, and the keys of its files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lop_engine.datasets import SyntheticDigits, look_at_digits, open_images
from lop_engine.datasets.digits import all_digits
from lop_engine.errors import ConfigError, DataError
from lop_engine.experiment.run import load_runs
from lop_engine.experiment.spec import Spec
from lop_engine.launch import prepare_run_dirs
from lop_engine.problems.permuted_mnist import PermutedMnist
from lop_engine.runs.files import RunFiles
from lop_engine.runs.store import read_table
from lop_engine.worker.stack import train_runs

CPU = torch.device("cpu")


def few() -> tuple[np.ndarray, np.ndarray]:
    images = SyntheticDigits()
    return np.concatenate([images.images(k, 30).reshape(30, 784) for k in range(10)]), np.repeat(np.arange(10), 30)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    monkeypatch.setattr("lop_engine.problems.permuted_mnist.all_digits", lambda images: few())


def spec_of(**settings) -> Spec:
    fixed = {"problem": "permuted_mnist", "agent": "bp", "step_size": 0.01, "num_features": 8, "num_tasks": 3}
    return Spec(**fixed | {"change_after": 450} | settings)


def whole(problem: PermutedMnist, seeds: list[int], start: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return inputs (S, N, 784) and labels (S, N) of every task from `start` on."""
    tasks = []
    for task in problem.tasks(seeds, CPU, start):
        parts = [task.part(part) for part in range(problem.spec.num_parts)]
        inputs = torch.cat([part.train_inputs for part in parts], 1)
        tasks.append((inputs, torch.cat([part.train_targets for part in parts], 1)))
    return tasks


def test_a_task_has_all_images_in_a_new_order_with_permuted_pixels():
    pixels, labels = few()
    [(first, first_labels), (second, _), _] = whole(PermutedMnist(spec_of(change_after=300)), [4])
    assert not (first == second).all()
    for inputs in (first, second):
        assert np.sort(inputs[0].sum(1)) == pytest.approx(np.sort(pixels.sum(1) / 255), abs=1e-3)
    assert np.bincount(first_labels[0]).tolist() == [30] * 10
    # All images share an order of pixels, so the means of pixels over images are permuted.
    assert np.sort(first[0].mean(0)) == pytest.approx(np.sort(pixels.mean(0) / 255), abs=1e-4)
    # An image keeps its label; its brightness identifies it.
    known = {round(float(total), 2): label for total, label in zip(pixels.sum(1) / 255, labels, strict=True)}
    by_sum = [
        (round(float(image.sum()), 2), int(label)) for image, label in zip(first[0], first_labels[0], strict=True)
    ]
    assert np.mean([known.get(total) == label for total, label in by_sum if total in known]) > 0.95


def test_images_repeat_in_the_same_order_in_longer_tasks():
    [(inputs, labels), *_] = whole(PermutedMnist(spec_of(change_after=450)), [1])
    assert inputs.shape == (1, 450, 784)
    assert (inputs[:, 300:] == inputs[:, :150]).all()
    assert (labels[:, 300:] == labels[:, :150]).all()


def test_a_task_depends_only_on_its_seed_and_number():
    all_tasks = whole(PermutedMnist(spec_of()), [1, 2])
    [(inputs, labels)] = whole(PermutedMnist(spec_of()), [2], start=2)
    assert (inputs[0] == all_tasks[2][0][1]).all()
    assert (labels[0] == all_tasks[2][1][1]).all()
    assert not (all_tasks[2][0][0] == all_tasks[2][0][1]).all()


def test_a_part_of_a_thousand_runs_takes_less_than_a_gib():
    spec = spec_of(change_after=60_000)
    inputs_as_bytes_and_as_floats = 1000 * spec.examples_per_part * 784 * (1 + 1 + 4)
    assert inputs_as_bytes_and_as_floats < 2**30


def test_num_examples_sets_the_number_of_tasks():
    spec = Spec(
        **{"problem": "permuted_mnist", "agent": "bp", "step_size": 0.01, "num_examples": 48e6, "change_after": 1e5}
    )
    assert (spec.num_tasks, spec.num_examples) == (480, 0)
    assert spec.with_changes(num_tasks=3).num_tasks == 3
    with pytest.raises(ConfigError, match="num_tasks and num_examples both say how long a run is"):
        spec_of(num_examples=900)


def test_defaults_are_those_of_the_paper():
    spec = Spec(problem="permuted_mnist", agent="bp", step_size=0.003)
    assert (spec.num_tasks, spec.change_after, spec.mini_batch_size) == (800, 60_000, 1)
    assert (spec.network, spec.num_features, spec.num_hidden_layers) == ("mlp", 2000, 3)
    assert {"effective_rank_3", "dead_proportion", "rank_1"} <= set(spec.start_metrics)


def test_generated_digits_are_deterministic_and_have_ten_different_classes():
    images = SyntheticDigits()
    assert images.sha256 == SyntheticDigits().sha256 != SyntheticDigits(1).sha256
    assert (images.images(3, 700)[:600] == images.images(3, 600)).all()
    pixels, labels = few()
    means = np.stack([pixels[labels == k].mean(0) for k in range(10)])
    nearest = ((pixels[:, None].astype(float) - means) ** 2).sum(2).argmin(1)
    assert (nearest == labels).mean() > 0.6


def test_there_are_as_many_generated_digits_as_in_mnist():
    pixels, labels = all_digits(SyntheticDigits())
    assert pixels.shape == (60_000, 784)
    assert np.bincount(labels).tolist() == [6000] * 10
    assert 0.10 < pixels.mean() / 255 < 0.16


def test_generated_digits_are_noted_and_missing_or_unsuitable_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = look_at_digits(spec_of(), [0])
    assert data.spec.dataset_sha256
    assert data.notes == ("generated digits, not MNIST; import MNIST with lop data import, then use --data mnist",)
    with pytest.raises(DataError, match=r"data/mnist: no images there\. Import them with .* \(MNIST"):
        open_images(spec_of(dataset="mnist"))
    for index in range(10):
        np.save(tmp_path / f"{index}.npy", np.zeros((3, 3, 32, 32), np.uint8))
    with pytest.raises(DataError, match="colour images of 32x32, problem permuted_mnist takes grey images of 28x28"):
        open_images(spec_of(dataset=str(tmp_path)))
    for index in range(9):
        np.save(tmp_path / f"{index}.npy", np.zeros((3, 1, 28, 28), np.uint8))
    (tmp_path / "9.npy").unlink()
    with pytest.raises(DataError, match="9 classes, a task needs 10"):
        open_images(spec_of(dataset=str(tmp_path)))
    with pytest.raises(DataError, match="grey images of 28x28, problem continual_imagenet takes colour images"):
        open_images(Spec(agent="bp", step_size=1, num_tasks=1, num_showings=1, dataset=str(tmp_path)))


def load(tmp_path, **changes):
    """Load the reference's cfg/cbp.json with other values, without keys that are None."""
    values = {
        "model_version": "CBP", "num_runs": 1, "num_tasks": 5, "use_gpu": 1, "data_dir": "data/", "to_log": True,
        "agent": "cbp", "opt": "sgd", "num_features": 8, "num_hidden_layers": 3, "step_size": 0.003,
        "accumulate": True, "util_type": "adaptable_contribution", "replacement_rate": 1e-4, "decay_rate": 0.99,
        "mt": 100,
    } | changes  # fmt: skip
    path = tmp_path / "ref.json"
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    notes: list[str] = []
    runs = load_runs(path, notes=notes)
    return runs[0].spec, " ".join(notes)


NOT_CBP = dict.fromkeys(("accumulate", "util_type", "replacement_rate", "decay_rate", "mt")) | {"agent": "bp"}


@pytest.mark.parametrize(
    ("changes", "key", "value", "note"),
    [
        ({}, "maturity_threshold", 100, ""),
        ({}, "accrual", "eligible", ""),
        ({"mt": 7}, "maturity_threshold", 100, "mt 7 runs as 100: the reference reads mt only beside"),
        ({"mt": 7, "maturity_threshold": 9}, "maturity_threshold", 7, "maturity_threshold 9 runs as 7"),
        ({"mt": None, "maturity_threshold": 9}, "maturity_threshold", 9, "cannot run maturity_threshold without mt"),
        ({"accumulate": False}, "accrual", "eligible", "accumulate false runs as true"),
        ({"util_type": None}, "util_type", "adaptable_contribution", ""),
        ({"weight_decay": 0.1}, "weight_decay", 0, "left out: weight_decay"),
        ({"opt": "adam"}, "opt", "adam_gnt", "opt adam runs as adam_gnt, the reference's Adam under cbp"),
        (NOT_CBP | {"opt": "adam"}, "opt", "adam", ""),
        ({"num_hidden_layers": None}, "num_hidden_layers", 1, "num_hidden_layers is 1, the default"),
        ({"num_tasks": None}, "num_tasks", 200, "num_tasks is 200, the default"),
        (NOT_CBP | {"to_perturb": True}, "perturb_scale", 0.1, "perturb_scale is 0.1, the default"),
        (NOT_CBP | {"to_perturb": True, "perturb_scale": 0.5}, "method", "snp", ""),
        (NOT_CBP | {"perturb_scale": 0.5}, "method", "bp", "left out: perturb_scale"),
        (NOT_CBP | {"weight_decay": 0.5}, "method", "l2", ""),
        (NOT_CBP | {"agent": "linear"}, "network", "linear", ""),
        (NOT_CBP | {"momentum": 0.9}, "momentum", 0, "left out: momentum"),
        (NOT_CBP | {"num_examples": 900, "change_after": 100, "num_tasks": None}, "num_tasks", 9, ""),
    ],
)
def test_a_reference_file_is_converted_to_what_the_reference_trains(tmp_path, changes, key, value, note):
    spec, notes = load(tmp_path, **changes)
    converted = spec.parts.method.name if key == "method" else getattr(spec, key)
    assert converted == value
    assert note in notes if note else not notes


def test_a_reference_file_that_sweeps_over_optimisers_has_its_adam(tmp_path):
    load(tmp_path, opt=["sgd", "adam"])
    path = tmp_path / "ref.json"
    assert [run.spec.opt for run in load_runs(path)] == ["sgd", "adam_gnt"]
    assert load_runs(path, overrides={"opt": "adam"})[0].spec.opt == "adam"


def test_a_reference_file_may_sweep_over_the_examples_of_a_task(tmp_path):
    values = {"num_runs": 1, "num_examples": 48_000_000, "change_after": [10_000, 100_000, 1_000_000], "agent": "bp"}
    values |= {"opt": "sgd", "step_size": 0.003, "num_features": 8, "num_hidden_layers": 3, "data_dir": "data/bp/rate/"}
    (tmp_path / "rate.json").write_text(json.dumps(values))
    assert [run.spec.num_tasks for run in load_runs(tmp_path / "rate.json")] == [4800, 480, 48]


@pytest.mark.parametrize("name", ["bp", "cbp"])
def test_the_demo_trains_its_first_tasks(tmp_path, name):
    runs = load_runs(Path(f"mnist/demo/{name}"), seeds=[0, 1], overrides={"num_tasks": 2, "change_after": 400})
    assert (runs[0].spec.dataset, runs[0].spec.method) == ("synthetic", name)
    run_dirs = prepare_run_dirs(tmp_path, runs).to_train
    train_runs([run.spec for run in runs], [RunFiles(run_dir) for run_dir in run_dirs], CPU, lambda: False)
    for run_dir in run_dirs:
        first, second = read_table(run_dir.tasks_json)
        assert 0 < first["online_accuracy"] < 1
        assert 0 < second["online_accuracy"] < 1
        assert {"effective_rank", "dead_proportion", "weight_magnitude"} <= first.keys()


def test_the_demo_compares_two_methods_on_the_same_tasks_and_network():
    bp, cbp = (load_runs(Path(f"mnist/demo/{name}"), seeds=[0])[0].spec for name in ("bp", "cbp"))
    ours = {"agent", "replacement_rate", "maturity_threshold", "decay_rate", "util_type", "budget_accrual"}
    other = cbp.to_dict()
    assert {key for key, value in bp.to_dict().items() if key not in ours and other[key] != value} == set()
