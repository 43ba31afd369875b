"""The reference's results become runs; other files are refused, and code in pickles is never executed."""

import contextlib
import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lop_engine import tensors
from lop_engine.errors import DataError, UserError
from lop_engine.exchange.reference import KEYS
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.run import load_runs
from lop_engine.runs.reading import RunsReader
from tests.exchange.makers import EPOCHS, TASKS, bring_in


def reference_result(tables: dict[str, np.ndarray], path: Path, protocol: int = pickle.DEFAULT_PROTOCOL) -> None:
    """Write a result file in the reference's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({key: torch.tensor(table) for key, table in tables.items()}, protocol))


def random_tables(seed: int, num_tasks: int = TASKS, done: int = TASKS) -> dict[str, np.ndarray]:
    """Return the seven tables of the reference, with rows of zeros from task `done` on."""
    rng = np.random.default_rng(seed)
    tables = {key: rng.uniform(0.1, 1, (num_tasks, EPOCHS)).astype(np.float32) for key in KEYS.values()}
    for table in tables.values():
        table[done:] = 0
    return tables


def config_file(path: Path, **keys) -> Path:
    path.write_text(json.dumps({"agent": "bp", "step_size": 0.1, "num_tasks": TASKS, "num_showings": EPOCHS} | keys))
    return path


def test_a_result_of_the_reference_becomes_an_ended_run(tmp_path):
    path = tmp_path / "old/cbp/0/7"
    tables = random_tables(0, done=5)
    reference_result(tables, path)
    [run_dir] = bring_in(tmp_path / "old/cbp", tmp_path / "runs")
    [view] = RunsReader(tmp_path / "runs").read().runs
    assert (view.dir, view.dir.name, view.state) == (run_dir, "cbp/default/seed_007", "finished")
    assert view.status.note == f"imported; ends after 5 of {TASKS} tasks"
    assert np.allclose(view.series["test_accuracy"], tables["test_accuracies"][:5, -1], rtol=1e-5)
    config = run_dir.read_config()
    assert config["spec"] == {"agent": "cbp", "num_tasks": TASKS, "num_showings": EPOCHS}
    assert config["imported"]["source"] == str(path)
    assert len(config["imported"]["sha256"]) == 64
    assert not run_dir.has_checkpoint


@pytest.mark.parametrize("protocol", range(2, 6))
def test_tensors_of_every_protocol_are_read(tmp_path, protocol):
    tables = {"test_accuracies": np.linspace(0, 1, 40_000, dtype=np.float64).reshape(100, 400)}
    reference_result(tables, tmp_path / "x", protocol)
    assert (tensors.load(tmp_path / "x")["test_accuracies"] == tables["test_accuracies"]).all()


def test_an_experiment_file_gives_imported_settings_their_names(tmp_path):
    for index in range(2):
        reference_result(random_tables(index), tmp_path / "old/results" / str(index) / "0")
    config = config_file(tmp_path / "bp.json", step_size=[0.1, 0.01])
    made = bring_in(tmp_path / "old", tmp_path / "runs", config)
    assert [one.name for one in made] == ["bp/step_size=0.1/seed_000", "bp/step_size=0.01/seed_000"]
    assert made[1].read_spec()["metrics"] == list(CONTINUAL_IMAGENET.metrics)
    assert made[1].read_spec() == json.loads(json.dumps(load_runs(config)[1].spec.to_dict()))


def test_an_experiment_file_that_does_not_match_is_refused_and_nothing_is_left(tmp_path):
    reference_result(random_tables(0), tmp_path / "old/bp/0/0")
    reference_result(random_tables(0, num_tasks=4), tmp_path / "old/bp/0/1")
    with pytest.raises(UserError, match="holds 4 tasks of 3 epochs, its experiment file says 12 of 3"):
        bring_in(tmp_path / "old", tmp_path / "runs", config_file(tmp_path / "bp.json"))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="there are no results of that name"):
        bring_in(tmp_path / "old", tmp_path / "runs", *(config_file(tmp_path / f"{name}.json") for name in ("bp", "l")))


def test_imported_results_do_not_overwrite_existing_runs(tmp_path):
    reference_result(random_tables(0), tmp_path / "old/bp/0/0")
    bring_in(tmp_path / "old", tmp_path / "runs")
    with pytest.raises(UserError, match="exists already"):
        bring_in(tmp_path / "old", tmp_path / "runs")
    assert len(RunsReader(tmp_path / "runs").read().runs) == 1


class Calls:
    def __init__(self, function, *arguments):
        self.answer = function, arguments

    def __reduce__(self):
        return self.answer


def test_a_hostile_result_is_refused_and_not_executed(tmp_path):
    mark = tmp_path / "mark"
    storage = pickle.dumps(Calls(os.mkdir, str(mark)))
    for number, hostile in enumerate(
        (Calls(os.mkdir, str(mark)), Calls(torch.load, str(mark)), Calls(torch.storage._load_from_bytes, storage))
    ):
        path = tmp_path / f"old{number}/bp/0/0"
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps({"test_accuracies": hostile}))
        with pytest.raises(DataError):
            bring_in(tmp_path / f"old{number}", tmp_path / "runs")
    assert not mark.exists()


def test_damaged_tensors_are_refused(tmp_path):
    whole = tensors.dump({"test_accuracies": np.ones((3, 2), np.float32)})
    for wrong in (
        whole[:-40],
        whole.replace(b"FloatStorage", b"DoubleStorag"),
        whole.replace(b"\x06\0\0\0", b"\x07\0\0\0"),
    ):
        (tmp_path / "x").write_bytes(wrong)
        with pytest.raises(DataError, match=str(tmp_path / "x")):
            tensors.load(tmp_path / "x")


def test_tensors_with_any_byte_changed_are_read_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    torch_s = pickle.dumps({"test_accuracies": torch.ones(3, 2)})
    for whole in (tensors.dump({"test_accuracies": np.ones((3, 2), np.float32)}), torch_s):
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] = rng.integers(256)
            (tmp_path / "x").write_bytes(changed)
            with contextlib.suppress(DataError):
                tensors.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"accuracy": 1}, "holds none of train_accuracies"),
        ([1], "holds no dictionary"),
        ({"test_accuracies": 3}, "tables should all be numbers of one shape"),
        ({"test_accuracies": torch.ones(3)}, "tables should all be numbers of one shape"),
        ({"test_accuracies": torch.ones(4, 3).T}, "a view with gaps"),
    ],
)
def test_files_that_are_not_results_are_refused_with_the_reason(tmp_path, content, message):
    path = tmp_path / "old/bp/0/0"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        bring_in(tmp_path / "old", tmp_path / "runs")


def test_a_file_of_torch_save_is_recognised_and_refused(tmp_path):
    torch.save({"test_accuracies": torch.ones(3, 2)}, tmp_path / "x")
    with pytest.raises(DataError, match=r"written by torch\.save"):
        tensors.load(tmp_path / "x")


def test_nan_stays_nan_in_a_pickle(tmp_path):
    array = np.array([[math.nan, 1.0]], np.float32)
    loaded = pickle.loads(tensors.dump({"x": array}))["x"]
    assert np.array_equal(loaded.numpy(), array, equal_nan=True)


def test_result_files_may_have_the_suffix_pkl(tmp_path):
    reference_result(random_tables(0), tmp_path / "results/bp/0/0.pkl")
    reference_result(random_tables(1), tmp_path / "results/bp/0/1")
    assert [run.name for run in bring_in(tmp_path / "results", tmp_path / "runs")] == [
        "bp/default/seed_000",
        "bp/default/seed_001",
    ]


def test_one_result_file_is_imported_by_its_path(tmp_path):
    tables = random_tables(0)
    reference_result(tables, tmp_path / "results/one_file.pkl")
    [run_dir] = bring_in(tmp_path / "results/one_file.pkl", tmp_path / "runs")
    assert run_dir.name == "one_file/default/seed_000"
    [view] = RunsReader(tmp_path / "runs").read().runs
    assert np.allclose(view.series["test_accuracy"], tables["test_accuracies"][:, -1], rtol=1e-5)
    with pytest.raises(UserError, match="no such file or directory"):
        bring_in(tmp_path / "results/nothing.pkl", tmp_path / "runs")


def test_importing_one_file_gives_the_same_name_as_importing_its_directory(tmp_path):
    for setting in range(2):
        reference_result(random_tables(setting), tmp_path / f"results/cbp/{setting}/3.pkl")
    whole = bring_in(tmp_path / "results/cbp", tmp_path / "runs")
    [one] = bring_in(tmp_path / "results/cbp/1/3.pkl", tmp_path / "more")
    assert one.name == whole[1].name == "cbp/setting=1/seed_003"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", [torch.Tensor.clone, torch.nn.Parameter], ids=["tensor", "parameter"])
def test_tensors_of_every_float_type_and_parameters_are_read(tmp_path, dtype, kind):
    values = torch.tensor([[0.5, -1.25, 3e-5], [1.0, float("nan"), 2.0**100]]).to(dtype)
    (tmp_path / "x").write_bytes(pickle.dumps({"test_accuracies": kind(values)}))
    read = tensors.load(tmp_path / "x")["test_accuracies"]
    assert np.array_equal(read.astype(float), values.double().numpy(), equal_nan=True)


def test_a_parameter_that_is_not_a_tensor_is_refused(tmp_path):
    content = pickle.dumps({"test_accuracies": Calls(torch._utils._rebuild_parameter, 3, True, {})})
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="damaged tensor"):
        tensors.load(tmp_path / "x")


def test_a_result_of_another_problem_is_refused_by_its_keys(tmp_path):
    """The file has the keys of the reference's permuted MNIST, which also has effective ranks."""
    keys = ("accuracies", "weight_mag_sum", "ranks", "effective_ranks", "approximate_ranks", "dead_neurons")
    path = tmp_path / "results/bp/0/0"
    reference_result({key: np.random.default_rng(0).random((6, 3)) for key in keys}, path)
    with pytest.raises(DataError, match=r"effective_ranks.*but neither train_accuracies nor test_accuracies"):
        bring_in(tmp_path / "results", tmp_path / "runs")
    assert not (tmp_path / "runs/bp").exists()
