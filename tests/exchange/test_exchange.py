"""Exporting records in other formats, and importing them again."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from lop_engine.errors import StoreError, UserError
from lop_engine.exchange import export_runs
from lop_engine.exchange.reference import KEYS
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.directory import RunDir, read_json, write_json
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import epoch_document
from lop_engine.runs.store import TableWriter, read_table
from lop_engine.runs.views import RunView
from tests.exchange.makers import EPOCHS, TASKS, bring_in
from tests.helpers import make_metrics, make_run

KEYS_OF_A_ROW = ["experiment", "setting", "seed", "task", "method", "problem"]


def add_epochs(run_dir: RunDir, tasks: int) -> None:
    """Record every epoch, with the task's values in its last epoch and smaller ones before."""
    series = make_metrics(run_dir.experiment, TASKS, run_dir.seed)
    with TableWriter(run_dir.epochs_json, "epochs") as table:
        for task in range(tasks):
            for epoch in range(EPOCHS):
                share = (epoch + 1) / EPOCHS
                table.append(epoch_document(task, epoch, {name: share * series[name][task] for name in series}))


@pytest.fixture
def runs(tmp_path) -> tuple[RunView, ...]:
    """Make two seeds of cbp, one of them stopped after five tasks, and one of bp."""
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


def test_csv_files_have_a_row_for_each_task_and_each_epoch(runs, tmp_path):
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


def test_values_that_are_not_finite_are_nan_in_a_csv(tmp_path):
    run_dir = make_run(tmp_path / "runs", "bp", tasks_done=0)
    with TableWriter(run_dir.tasks_json, "tasks") as table:
        table.append({"task": 0, "classes": [0, 1], "seconds": 1.0, "test_accuracy": 0.5, "curvature": None})
        table.append({"task": 1, "classes": [2, 3], "seconds": 1.0, "test_accuracy": 0.5, "curvature": 2.0})
    export_runs(RunsReader(tmp_path / "runs").read().runs, "csv", tmp_path / "x.csv")
    assert [row["curvature"] for row in rows_of(tmp_path / "x.csv")] == ["NaN", "2.0"]


def test_parquet_has_the_same_rows_as_csv(runs, tmp_path):
    export_runs(runs, "csv", tmp_path / "x.csv", epochs=True)
    export_runs(runs, "parquet", tmp_path / "x.parquet", epochs=True)
    for name in ("x", "x_epochs"):
        table = parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        cells = [{key: "" if value is None else str(value) for key, value in row.items()} for row in table]
        assert cells == rows_of(tmp_path / f"{name}.csv")


def test_npz_arrays_have_axes_for_seeds_tasks_and_epochs(runs, tmp_path):
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


def test_event_files_have_scalars_by_task(runs, tmp_path):
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


def test_the_reference_s_plotting_code_reads_exported_pickles(runs, tmp_path):
    export_runs(runs, "pickle", tmp_path / "results")
    with open(tmp_path / "results/cbp/0/0", "rb") as file:
        data = pickle.load(file)
    assert {key: (table.dtype, tuple(table.shape)) for key, table in data.items()} == {
        key: (torch.float32, (TASKS, EPOCHS)) for key in KEYS.values()
    }
    # The reference's scripts pad with rows of zeros, take the last epoch in percent, and average bins of tasks.
    longer = torch.cat((data["test_accuracies"], torch.zeros((3, EPOCHS))))
    bins = (longer[:, -1].flatten() * 100).reshape(-1, 3).mean(dim=1)
    expected = 100 * runs[1].series["test_accuracy"].reshape(-1, 3).mean(1)
    assert np.allclose(bins[:-1], expected, rtol=1e-5)


def test_settings_are_numbered_in_order_of_creation(tmp_path):
    for position, setting in enumerate(("step_size=0.01", "step_size=0.001")):
        run_dir = make_run(tmp_path / "runs", "bp", setting=setting, num_tasks=3, num_epochs=1)
        write_json(run_dir.run_json, run_dir.read_config() | {"created_at": 100.0 + position})
    export_runs(RunsReader(tmp_path / "runs").read().runs, "pickle", tmp_path / "out")
    listed = read_json(tmp_path / "out/bp/settings.json")["settings"]
    assert [one["setting"] for one in listed] == ["step_size=0.01", "step_size=0.001"]


def test_exporting_and_importing_keeps_all_numbers(runs, tmp_path):
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


def test_epochs_without_a_metric_lack_it_in_every_format(tmp_path):
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


def test_a_failed_export_leaves_only_the_old_one(runs, tmp_path, monkeypatch):
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


def test_force_replaces_only_directories_that_an_export_wrote(runs, tmp_path):
    export_runs(runs, "pickle", tmp_path / "results")
    export_runs(runs[:1], "pickle", tmp_path / "results", force=True)
    assert [path.name for path in (tmp_path / "results").iterdir() if path.is_dir()] == ["bp"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not an earlier export"):
        export_runs(runs, "pickle", tmp_path / "mine", force=True)
    with pytest.raises(UserError, match="should be a file"):
        export_runs(runs, "csv", tmp_path / "mine", force=True)
    assert (tmp_path / "mine/thesis.tex").exists()


def test_force_replaces_only_files_that_an_export_wrote(runs, tmp_path):
    for form in ("csv", "npz", "parquet"):
        path = tmp_path / f"x.{form}"
        export_runs(runs, form, path)
        export_runs(runs[:1], form, path, force=True)
        path.write_text("years of work")
        with pytest.raises(UserError, match="not an earlier export"):
            export_runs(runs, form, path, force=True)
        assert path.read_text() == "years of work"
    np.savez(tmp_path / "x.npz", weights=np.ones(3))
    parquet.write_table(pyarrow.table({"weights": [1.0]}), tmp_path / "x.parquet")
    for form in ("npz", "parquet"):
        with pytest.raises(UserError, match="not an earlier export"):
            export_runs(runs, form, tmp_path / f"x.{form}", force=True)


def test_force_does_not_replace_another_file_at_the_path_of_the_epochs(runs, tmp_path):
    (tmp_path / "x_epochs.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(UserError, match=r"x_epochs\.csv: not an earlier export"):
        export_runs(runs, "csv", tmp_path / "x.csv", epochs=True, force=True)
    assert not (tmp_path / "x.csv").exists()


def test_exports_into_the_records_of_runs_are_refused(runs, tmp_path):
    record = runs[0].dir.tasks_json
    before = record.read_bytes()
    for path in (record, record.with_name("new.csv"), runs[0].dir.path.parent / "new.csv"):
        with pytest.raises(UserError, match="inside the records"):
            export_runs(runs, "csv", path, force=True)
    with pytest.raises(UserError, match="inside the records"):
        export_runs(runs, "pickle", tmp_path / "runs", force=True)
    assert record.read_bytes() == before
    export_runs(runs, "csv", tmp_path / "runs/all.csv")


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_invalid_file_names_of_exports_are_refused(runs, name):
    with pytest.raises(UserError, match="not a valid file name"):
        export_runs(runs, "csv", Path(name), epochs=True)


def test_an_export_interrupted_between_its_renames_restores_the_old_one(runs, tmp_path, monkeypatch):
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
def test_an_error_of_a_full_disk_names_the_path_of_the_user(runs, tmp_path, monkeypatch, form):
    def full(*_):
        raise OSError(28, "No space left on device")

    where = {"pickle": "reference.write_json", "tensorboard": "files.scalars", "npz": "files.table_on_disk"}
    monkeypatch.setattr(f"lop_engine.exchange.{where.get(form, 'files.task_blocks')}", full)
    with pytest.raises(OSError, match="No space") as error:
        export_runs(runs, form, tmp_path / "new/x", epochs=form == "npz")
    assert error.value.filename == str(tmp_path / "new/x")
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fills_up_ends_an_export_of_events_with_its_error(runs, tmp_path, monkeypatch):
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


def test_a_path_that_cannot_be_created_is_named_as_typed(runs, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/below/x.csv", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"Not a directory|too long") as error:
            export_runs(runs, "csv", path)
        assert ".export." not in str(error.value)
    export_runs(runs, "csv", tmp_path / ("x" * 250))
