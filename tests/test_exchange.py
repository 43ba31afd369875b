"""Records in other programs' forms, and the reference's results as runs."""

import contextlib
import csv
import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from lop_engine import tensors
from lop_engine.errors import DataError, StoreError, UserError
from lop_engine.exchange import export_runs, find_results, import_results
from lop_engine.exchange.reference import KEYS
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.run import load_runs
from lop_engine.runs.directory import RunDir, read_json, write_json
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import epoch_document
from lop_engine.runs.store import TableWriter, read_table
from lop_engine.runs.views import RunView
from tests.helpers import make_metrics, make_run

TASKS, EPOCHS = 12, 3
KEYS_OF_A_ROW = ["experiment", "setting", "seed", "task", "method", "problem"]


def add_epochs(run_dir: RunDir, tasks: int) -> None:
    """Record every epoch: the task's values, and less before its last epoch."""
    series = make_metrics(run_dir.experiment, TASKS, run_dir.seed)
    with TableWriter(run_dir.epochs_json, "epochs") as table:
        for task in range(tasks):
            for epoch in range(EPOCHS):
                share = (epoch + 1) / EPOCHS
                table.append(epoch_document(task, epoch, {name: share * series[name][task] for name in series}))


@pytest.fixture
def runs(tmp_path) -> tuple[RunView, ...]:
    """Two seeds of cbp, one of them stopped after five tasks, and one of bp."""
    for method, seed, done in (("cbp", 0, TASKS), ("cbp", 3, 5), ("bp", 0, TASKS)):
        state = "finished" if done == TASKS else "stopped"
        made = make_run(
            tmp_path / "runs", method, seed, num_tasks=TASKS, num_epochs=EPOCHS, tasks_done=done, state=state
        )
        add_epochs(made, done)
    return RunsReader(tmp_path / "runs").read().runs


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def reference_result(tables: dict[str, np.ndarray], path: Path, protocol: int = pickle.DEFAULT_PROTOCOL) -> None:
    """A result file as the reference writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({key: torch.tensor(table) for key, table in tables.items()}, protocol))


def random_tables(seed: int, num_tasks: int = TASKS, done: int = TASKS) -> dict[str, np.ndarray]:
    """The seven tables of the reference, rows of zeros from task `done` on."""
    rng = np.random.default_rng(seed)
    tables = {key: rng.uniform(0.1, 1, (num_tasks, EPOCHS)).astype(np.float32) for key in KEYS.values()}
    for table in tables.values():
        table[done:] = 0
    return tables


def bring_in(directory: Path, runs_dir: Path, *configs: Path) -> list[RunDir]:
    return [one.run_dir for one in import_results(find_results(directory, configs), runs_dir)]


def config_file(path: Path, **keys) -> Path:
    path.write_text(json.dumps({"agent": "bp", "step_size": 0.1, "num_tasks": TASKS, "num_showings": EPOCHS} | keys))
    return path


def test_a_csv_has_a_row_a_task_and_one_an_epoch(runs, tmp_path):
    path = tmp_path / "all.csv"
    done = export_runs(runs, "csv", path, epochs=True)
    assert done.paths == (path, tmp_path / "all_epochs.csv")
    assert [run.dir.name for run in done.unfinished] == ["cbp/default/seed_003"]
    tasks, epochs = map(rows_of, done.paths)
    assert len(tasks) == 2 * TASKS + 5
    assert len(epochs) == EPOCHS * len(tasks)
    assert list(tasks[0])[:6] == KEYS_OF_A_ROW
    assert list(tasks[0])[-8:] == ["seconds", *CONTINUAL_IMAGENET.metrics]
    assert {"step_size", "replacement_rate", "num_tasks"} < tasks[0].keys()
    assert float(tasks[-1]["test_accuracy"]) == runs[2].series["test_accuracy"][4]
    assert (epochs[-1]["task"], epochs[-1]["epoch"]) == ("5", "3")
    assert float(epochs[-1]["curvature"]) == runs[2].series["curvature"][4]


def test_what_is_not_finite_is_nan_in_a_csv(tmp_path):
    run_dir = make_run(tmp_path / "runs", "bp", tasks_done=0)
    with TableWriter(run_dir.tasks_json, "tasks") as table:
        table.append({"task": 0, "classes": [0, 1], "seconds": 1.0, "test_accuracy": 0.5, "curvature": None})
        table.append({"task": 1, "classes": [2, 3], "seconds": 1.0, "test_accuracy": 0.5, "curvature": 2.0})
    export_runs(RunsReader(tmp_path / "runs").read().runs, "csv", tmp_path / "x.csv")
    assert [row["curvature"] for row in rows_of(tmp_path / "x.csv")] == ["NaN", "2.0"]


def test_parquet_holds_what_the_csv_does(runs, tmp_path):
    export_runs(runs, "csv", tmp_path / "x.csv", epochs=True)
    export_runs(runs, "parquet", tmp_path / "x.parquet", epochs=True)
    for name in ("x", "x_epochs"):
        table = parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        cells = [{key: "" if value is None else str(value) for key, value in row.items()} for row in table]
        assert cells == rows_of(tmp_path / f"{name}.csv")


def test_npz_arrays_are_seeds_by_tasks_by_epochs(runs, tmp_path):
    export_runs(runs, "npz", tmp_path / "x.npz", epochs=True)
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["cbp/default/seeds"].tolist() == [0, 3]
        tasks, epochs = arrays["cbp/default/test_accuracy"], arrays["cbp/default/epochs/test_accuracy"]
    assert (tasks.shape, epochs.shape) == ((2, TASKS), (2, TASKS, EPOCHS))
    assert np.isnan(tasks[1, 5:]).all()
    assert np.isnan(epochs[1, 5:]).all()
    assert tasks[0].tolist() == runs[1].series["test_accuracy"].tolist()
    assert np.allclose(epochs[:, :, -1], tasks, equal_nan=True)
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["x.npz"]


def test_events_are_scalars_by_task(runs, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    export_runs(runs, "tensorboard", tmp_path / "events", epochs=True)
    [path] = (tmp_path / "events/cbp/default/seed_003").iterdir()
    content, events = path.read_bytes(), []
    while content:  # length, its checksum, the event, its checksum
        length = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    shown = {(value.tag, event.step): value.simple_value for event in events for value in event.summary.value}
    assert shown["test_accuracy", 4] == pytest.approx(runs[2].series["test_accuracy"][4])
    assert shown["epochs/test_accuracy", 4 * EPOCHS + 2] == shown["test_accuracy", 4]
    assert ("test_accuracy", 5) not in shown


def test_the_reference_s_way_of_plotting_reads_exported_pickles(runs, tmp_path):
    export_runs(runs, "pickle", tmp_path / "results")
    with open(tmp_path / "results/cbp/0/0", "rb") as file:
        data = pickle.load(file)
    assert {key: (table.dtype, tuple(table.shape)) for key, table in data.items()} == {
        key: (torch.float32, (TASKS, EPOCHS)) for key in KEYS.values()
    }
    # What its scripts do: lengthen by rows of zeros, take the last epoch in percent, average bins of tasks.
    longer = torch.cat((data["test_accuracies"], torch.zeros((3, EPOCHS))))
    bins = (longer[:, -1].flatten() * 100).reshape(-1, 3).mean(dim=1)
    expected = 100 * runs[1].series["test_accuracy"].reshape(-1, 3).mean(1)
    assert np.allclose(bins[:-1], expected, rtol=1e-5)


def test_settings_are_numbered_in_the_order_in_which_they_were_begun(tmp_path):
    for begun, setting in enumerate(("step_size=0.01", "step_size=0.001")):
        run_dir = make_run(tmp_path / "runs", "bp", setting=setting, num_tasks=3, num_epochs=1)
        write_json(run_dir.run_json, run_dir.read_config() | {"created_at": 100.0 + begun})
    export_runs(RunsReader(tmp_path / "runs").read().runs, "pickle", tmp_path / "out")
    listed = read_json(tmp_path / "out/bp/settings.json")["settings"]
    assert [one["setting"] for one in listed] == ["step_size=0.01", "step_size=0.001"]


def test_exported_and_imported_the_numbers_are_the_same(runs, tmp_path):
    export_runs(runs, "pickle", tmp_path / "results")
    bring_in(tmp_path / "results", tmp_path / "again")
    again = RunsReader(tmp_path / "again").read().runs
    assert [run.dir.name for run in again] == [run.dir.name for run in runs]
    for old, new in zip(runs, again, strict=True):
        assert {name: values.tolist() for name, values in new.series.items()} == {
            name: values.tolist() for name, values in old.series.items()
        }
        assert new.spec == old.spec
        assert read_table(new.dir.epochs_json) == read_table(old.dir.epochs_json)


def test_epochs_without_a_metric_lack_it_in_every_form(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    run_dir = make_run(tmp_path / "runs", "bp", num_tasks=2, num_epochs=EPOCHS, spec={"curvature_every": 0})
    with TableWriter(run_dir.epochs_json, "epochs") as table:
        for task in range(2):
            for epoch in range(EPOCHS):
                values = {
                    name: 0.5 for name in CONTINUAL_IMAGENET.metrics if name != "curvature" or epoch == EPOCHS - 1
                }
                table.append(epoch_document(task, epoch, values))
    views = RunsReader(tmp_path / "runs").read().runs
    for form in ("csv", "npz", "parquet", "pickle", "tensorboard"):
        export_runs(views, form, tmp_path / f"out.{form}", epochs=True)
    assert [row["curvature"] for row in rows_of(tmp_path / "out_epochs.csv")] == ["NaN", "NaN", "0.5"] * 2
    with np.load(tmp_path / "out.npz") as arrays:
        assert np.isnan(arrays["bp/default/epochs/curvature"][0]).tolist() == [[True, True, False]] * 2
    [path] = (tmp_path / "out.tensorboard/bp/default/seed_000").iterdir()
    content, steps = path.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        steps += [event.step for value in event.summary.value if value.tag == "epochs/curvature"]
        content = content[16 + length :]
    assert steps == [2, 5]
    bring_in(tmp_path / "out.pickle", tmp_path / "again")
    [again] = RunsReader(tmp_path / "again").read().runs
    assert ["curvature" in one for one in read_table(again.dir.epochs_json)] == [False, False, True] * 2


def test_a_result_of_the_reference_becomes_a_run_that_has_ended(tmp_path):
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


def test_an_experiment_file_names_the_settings(tmp_path):
    for index in range(2):
        reference_result(random_tables(index), tmp_path / "old/results" / str(index) / "0")
    config = config_file(tmp_path / "bp.json", step_size=[0.1, 0.01])
    made = bring_in(tmp_path / "old", tmp_path / "runs", config)
    assert [one.name for one in made] == ["bp/step_size=0.1/seed_000", "bp/step_size=0.01/seed_000"]
    assert made[1].read_spec()["metrics"] == list(CONTINUAL_IMAGENET.metrics)
    assert made[1].read_spec() == json.loads(json.dumps(load_runs(config)[1].spec.to_dict()))


def test_an_experiment_file_that_does_not_fit_is_refused_and_nothing_is_left(tmp_path):
    reference_result(random_tables(0), tmp_path / "old/bp/0/0")
    reference_result(random_tables(0, num_tasks=4), tmp_path / "old/bp/0/1")
    with pytest.raises(UserError, match="holds 4 tasks of 3 epochs, its experiment file says 12 of 3"):
        bring_in(tmp_path / "old", tmp_path / "runs", config_file(tmp_path / "bp.json"))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="there are no results of that name"):
        bring_in(tmp_path / "old", tmp_path / "runs", *(config_file(tmp_path / f"{name}.json") for name in ("bp", "l")))


def test_results_do_not_cover_runs_that_are_there(tmp_path):
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


def test_a_hostile_result_is_refused_and_nothing_in_it_is_run(tmp_path):
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
    ("content", "said"),
    [
        ({"accuracy": 1}, "holds none of train_accuracies"),
        ([1], "holds no dictionary"),
        ({"test_accuracies": 3}, "tables should all be numbers of one shape"),
        ({"test_accuracies": torch.ones(3)}, "tables should all be numbers of one shape"),
        ({"test_accuracies": torch.ones(4, 3).T}, "a view with gaps"),
    ],
)
def test_what_is_no_result_is_said(tmp_path, content, said):
    path = tmp_path / "old/bp/0/0"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=said):
        bring_in(tmp_path / "old", tmp_path / "runs")


def test_a_file_of_torch_save_is_named_as_such(tmp_path):
    torch.save({"test_accuracies": torch.ones(3, 2)}, tmp_path / "x")
    with pytest.raises(DataError, match=r"written by torch\.save"):
        tensors.load(tmp_path / "x")


def test_an_export_that_fails_leaves_the_old_one_and_nothing_else(runs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    export_runs(runs, "pickle", out / "results")
    export_runs(runs, "csv", out / "x.csv")
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lop_engine.exchange.reference.epoch_table", full)
    monkeypatch.setattr("lop_engine.exchange.files.task_blocks", full)
    for form, name in (("pickle", "results"), ("csv", "x.csv")):
        with pytest.raises(OSError, match="No space"):
            export_runs(runs, form, out / name, force=True)
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*")) == before


def test_a_damaged_record_is_named(runs, tmp_path):
    with TableWriter(runs[0].dir.epochs_json, "epochs") as table:
        table.append({"task": TASKS - 1, "epoch": 2, "curvature": "high"})
    for form in ("pickle", "npz", "csv"):
        with pytest.raises(StoreError, match=r"epochs\.json: task 11: an epoch or a metric is not a number"):
            export_runs(runs, form, tmp_path / "out" / form, epochs=True)
    assert not (tmp_path / "out").exists()


def test_force_replaces_exports_and_never_another_directory(runs, tmp_path):
    export_runs(runs, "pickle", tmp_path / "results")
    export_runs(runs[:1], "pickle", tmp_path / "results", force=True)
    assert [path.name for path in (tmp_path / "results").iterdir() if path.is_dir()] == ["bp"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no earlier export"):
        export_runs(runs, "pickle", tmp_path / "mine", force=True)
    with pytest.raises(UserError, match="should be a file"):
        export_runs(runs, "csv", tmp_path / "mine", force=True)
    assert (tmp_path / "mine/thesis.tex").exists()


def test_force_replaces_no_file_that_no_export_wrote(runs, tmp_path):
    for form in ("csv", "npz", "parquet"):
        path = tmp_path / f"x.{form}"
        export_runs(runs, form, path)
        export_runs(runs[:1], form, path, force=True)
        path.write_text("years of work")
        with pytest.raises(UserError, match="no earlier export"):
            export_runs(runs, form, path, force=True)
        assert path.read_text() == "years of work"
    np.savez(tmp_path / "x.npz", weights=np.ones(3))
    parquet.write_table(pyarrow.table({"weights": [1.0]}), tmp_path / "x.parquet")
    for form in ("npz", "parquet"):
        with pytest.raises(UserError, match="no earlier export"):
            export_runs(runs, form, tmp_path / f"x.{form}", force=True)


def test_force_replaces_no_foreign_table_of_epochs(runs, tmp_path):
    (tmp_path / "x_epochs.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(UserError, match=r"x_epochs\.csv: is no earlier export"):
        export_runs(runs, "csv", tmp_path / "x.csv", epochs=True, force=True)
    assert not (tmp_path / "x.csv").exists()


def test_records_are_no_place_for_an_export(runs, tmp_path):
    record = runs[0].dir.tasks_json
    before = record.read_bytes()
    for path in (record, record.with_name("new.csv"), runs[0].dir.path.parent / "new.csv"):
        with pytest.raises(UserError, match="place of records"):
            export_runs(runs, "csv", path, force=True)
    with pytest.raises(UserError, match="place of records"):
        export_runs(runs, "pickle", tmp_path / "runs", force=True)
    assert record.read_bytes() == before
    export_runs(runs, "csv", tmp_path / "runs/all.csv")


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_an_export_needs_a_name(runs, name):
    with pytest.raises(UserError, match="name of no file"):
        export_runs(runs, "csv", Path(name), epochs=True)


def test_an_export_that_is_interrupted_between_its_renames_puts_the_old_one_back(runs, tmp_path, monkeypatch):
    export_runs(runs, "pickle", tmp_path / "out")
    before = sorted((tmp_path / "out").rglob("*"))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lop_engine.exchange.export.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_runs(runs[:1], "pickle", tmp_path / "out", force=True)
    assert sorted((tmp_path / "out").rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


@pytest.mark.parametrize("form", ["csv", "npz", "parquet", "pickle", "tensorboard"])
def test_a_full_disk_is_an_error_of_the_place_a_person_named(runs, tmp_path, monkeypatch, form):
    def full(*_):
        raise OSError(28, "No space left on device")

    where = {"pickle": "reference.write_json", "tensorboard": "files._scalars", "npz": "files._table_on_disk"}
    monkeypatch.setattr(f"lop_engine.exchange.{where.get(form, 'files.task_blocks')}", full)
    with pytest.raises(OSError, match="No space") as told:
        export_runs(runs, form, tmp_path / "new/x", epochs=form == "npz")
    assert told.value.filename == str(tmp_path / "new/x")
    assert not (tmp_path / "new").exists()


def test_events_end_with_the_error_of_a_disk_that_fills_up(runs, tmp_path, monkeypatch):
    from tensorboardX.record_writer import RecordWriter

    written = []

    def write(self, content):
        written.append(content)
        if len(written) > 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", write)
    with pytest.raises(OSError, match="No space"):
        export_runs(runs, "tensorboard", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_place_that_cannot_be_made_is_named_as_it_was_given(runs, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/below/x.csv", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"Not a directory|too long") as told:
            export_runs(runs, "csv", path)
        assert ".export." not in str(told.value)
    export_runs(runs, "csv", tmp_path / ("x" * 250))


def test_nan_stays_nan_in_a_pickle(tmp_path):
    array = np.array([[math.nan, 1.0]], np.float32)
    loaded = pickle.loads(tensors.dump({"x": array}))["x"]
    assert np.array_equal(loaded.numpy(), array, equal_nan=True)


def test_a_result_may_have_the_suffix_of_a_pickle(tmp_path):
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


def test_one_file_of_a_directory_becomes_the_run_that_the_directory_makes_of_it(tmp_path):
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


def test_a_parameter_of_something_else_is_refused(tmp_path):
    content = pickle.dumps({"test_accuracies": Calls(torch._utils._rebuild_parameter, 3, True, {})})
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="damaged tensor"):
        tensors.load(tmp_path / "x")


def test_a_result_of_another_problem_is_refused_by_its_keys(tmp_path):
    """The keys of the reference's permuted MNIST, which has effective ranks too."""
    keys = ("accuracies", "weight_mag_sum", "ranks", "effective_ranks", "approximate_ranks", "dead_neurons")
    path = tmp_path / "results/bp/0/0"
    reference_result({key: np.random.default_rng(0).random((6, 3)) for key in keys}, path)
    with pytest.raises(DataError, match=r"effective_ranks.*but neither train_accuracies nor test_accuracies"):
        bring_in(tmp_path / "results", tmp_path / "runs")
    assert not (tmp_path / "runs/bp").exists()
