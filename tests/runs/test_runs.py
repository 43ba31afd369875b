"""Reading a runs directory while runs appear, grow, start over, vanish and break."""

import gc
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from lop_engine.errors import StoreError
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.runs.directory import RunDir, find_runs, read_json, write_json
from lop_engine.runs.liveness import is_alive
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import RunStatus, task_document
from lop_engine.runs.store import TableWriter
from tests.helpers import make_run, running

SPEC = Spec(agent="bp", step_size=0.1, num_tasks=200, num_showings=1)


@pytest.fixture
def runs_dir(tmp_path):
    return tmp_path / "runs"


def start(runs_dir, experiment="bp", setting="default", seed=0, num_tasks=0, status=None):
    run_dir = RunDir.of(runs_dir, Run(experiment, setting, seed, SPEC))
    run_dir.path.mkdir(parents=True, exist_ok=True)
    write_json(run_dir.run_json, {"spec": SPEC.to_dict()})
    run_dir.write_status(status or RunStatus("stopped"))
    grow(run_dir, 0, num_tasks)
    return run_dir


def grow(run_dir, first, num, **kwargs):
    with TableWriter(run_dir.tasks_json, "tasks", **kwargs) as writer:
        for task in range(first, first + num):
            writer.append(
                task_document(task, {"classes": [0, 1]}, 1.0, {"test_accuracy": task / 1000, "curvature": float("nan")})
            )


def accuracy(view):
    return view.series.get("test_accuracy", np.array([])).tolist()


def accuracies_of(*tasks):
    return [task / 1000 for task in tasks]


def test_a_run_directory_has_the_documented_layout(runs_dir):
    run_dir = start(runs_dir, "cbp", "step_size=0.1", 7)
    assert run_dir.path == runs_dir / "cbp" / "step_size=0.1" / "seed_007"
    assert (run_dir.experiment, run_dir.setting, run_dir.seed) == ("cbp", "step_size=0.1", 7)
    assert run_dir.name == "cbp/step_size=0.1/seed_007"
    run_dir.clear()
    assert list(find_runs(runs_dir)) == []


def test_runs_are_ordered_by_experiment_setting_and_seed(runs_dir):
    names = [("bp", "default", seed) for seed in (0, 999, 1000)] + [("bp", "x=1", 0), ("cbp", "default", 2)]
    for name in reversed(names):
        start(runs_dir, *name)
    (runs_dir / "bp" / "default" / "seed_xyz").mkdir()
    (runs_dir / "bp" / "default" / "seed_xyz" / "run.json").write_text("{}")
    (runs_dir / "bp" / "default" / "seed_005").mkdir()
    (runs_dir / "notes.txt").write_text("")
    run_dirs = list(find_runs(runs_dir))
    assert [(one.experiment, one.setting, one.seed) for one in run_dirs] == names
    assert [one.path for one in run_dirs] == [RunDir.of(runs_dir, Run(*name, SPEC)).path for name in names]


def test_a_missing_directory_is_read_when_it_appears(runs_dir):
    reader = RunsReader(runs_dir)
    snapshot = reader.read()
    assert (snapshot.runs, snapshot.directory_exists) == ((), False)
    start(runs_dir)
    snapshot = reader.read()
    assert (len(snapshot.runs), snapshot.directory_exists) == (1, True)


def test_new_runs_are_found_in_a_growing_tree(runs_dir):
    one = start(runs_dir, num_tasks=1)
    reader = RunsReader(runs_dir)
    (view,) = reader.read().runs
    assert (view.experiment, view.setting, view.seed) == ("bp", "default", 0)
    assert (view.num_tasks, view.state, view.problem) == (200, "stopped", None)
    assert accuracy(view) == accuracies_of(0)
    assert np.isnan(view.series["curvature"]).all()
    grow(one, 1, 150)
    start(runs_dir, "cbp", num_tasks=2)
    views = reader.read().runs
    assert [accuracy(view) for view in views] == [accuracies_of(*range(151)), accuracies_of(0, 1)]
    assert reader.read().runs[0].series is views[0].series


def test_a_snapshot_never_changes(runs_dir):
    run_dir = start(runs_dir, num_tasks=3)
    reader = RunsReader(runs_dir)
    (old,) = reader.read().runs
    grow(run_dir, 3, 100)
    (new,) = reader.read().runs
    assert accuracy(old) == accuracies_of(0, 1, 2)
    assert len(accuracy(new)) == 103
    with pytest.raises(ValueError, match="read-only"):
        new.series["test_accuracy"][0] = 1


def test_nulls_and_tasks_before_the_first_value_of_a_metric_are_nan(runs_dir):
    run_dir = start(runs_dir, num_tasks=70)
    reader = RunsReader(runs_dir)
    reader.read()
    with TableWriter(run_dir.tasks_json, "tasks") as writer:
        writer.append({"task": 70, "test_accuracy": None, "curvature": 2})
    series = reader.read().runs[0].series
    assert series["curvature"].dtype == np.float64
    assert np.isnan(series["curvature"][:70]).all()
    assert series["curvature"][70] == 2
    assert np.isnan(series["test_accuracy"][70])


def test_the_seconds_of_each_task_are_read(runs_dir):
    run_dir = start(runs_dir, num_tasks=2)
    reader = RunsReader(runs_dir)
    (old,) = reader.read().runs
    assert old.seconds.tolist() == [1, 1]
    assert "seconds" not in old.series
    with TableWriter(run_dir.tasks_json, "tasks") as writer:
        writer.extend([{"task": 2, "seconds": None}, {"task": 3}, {"task": 4, "seconds": 7}])
    (view,) = reader.read().runs
    assert np.array_equal(view.seconds, [1, 1, np.nan, np.nan, 7], equal_nan=True)
    assert len(view.series["test_accuracy"]) == len(view.seconds)
    assert old.seconds.tolist() == [1, 1]
    with pytest.raises(ValueError, match="read-only"):
        view.seconds[0] = 2


def test_records_without_seconds_have_nan(runs_dir):
    run_dir = start(runs_dir)
    with TableWriter(run_dir.tasks_json, "tasks") as writer:
        writer.extend({"task": task, "test_accuracy": 0.5, "curvature": None} for task in range(3))
    (view,) = RunsReader(runs_dir).read().runs
    assert np.isnan(view.seconds).tolist() == [True] * 3


def test_metrics_may_be_missing_or_null_in_some_tasks(runs_dir):
    run_dir = start(runs_dir)
    reader = RunsReader(runs_dir)
    values = {"test_accuracy": [0.5, None, None, 0.6], "srank": [None, 3, 4, None], "curvature": [None] * 4}
    for _ in range(40):
        with TableWriter(run_dir.tasks_json, "tasks") as writer:
            for task in range(4):
                one = {name: column[task] for name, column in values.items() if column[task] or task == 1}
                writer.append({"task": task} | one)
        (view,) = reader.read().runs
    assert set(view.series) == {"test_accuracy", "srank", "curvature"}
    assert {name: is_null.tolist() for name, is_null in view.nulls.items()} == {
        name: [False, column[1] is None, False, False] * 40 for name, column in values.items() if column[1] is None
    }
    for name, series in view.series.items():
        assert np.array_equal(series, np.tile(np.array(values[name], dtype=float), 40), equal_nan=True)


def test_an_unchanged_run_returns_the_same_arrays(runs_dir):
    start(runs_dir, "bp", num_tasks=3)
    growing = start(runs_dir, "cbp", num_tasks=3)
    start(runs_dir, "l2")
    reader = RunsReader(runs_dir)
    old = reader.read().runs
    grow(growing, 3, 1)
    new = reader.read().runs
    assert [now.series is before.series for before, now in zip(old, new, strict=True)] == [True, False, True]
    assert [now.seconds is before.seconds for before, now in zip(old, new, strict=True)] == [True, False, True]


def test_the_worker_of_many_runs_is_looked_up_once_per_read(runs_dir, monkeypatch):
    here = running(pid=os.getpid(), pid_started_at=psutil.Process().create_time())
    for seed in range(5):
        start(runs_dir, seed=seed, status=here)
    start(runs_dir, "cbp", status=running(pid=os.getpid(), pid_started_at=1.0))
    lookups = []

    def counting(status):
        lookups.append(status.pid_started_at)
        return is_alive(status)

    monkeypatch.setattr("lop_engine.runs.reading.is_alive", counting)
    reader = RunsReader(runs_dir)
    for _ in range(2):
        lookups.clear()
        assert [view.state for view in reader.read().runs] == ["running"] * 5 + ["lost"]
        assert lookups == [here.pid_started_at, 1.0]


def test_a_status_is_read_again_when_it_changes(runs_dir, monkeypatch):
    run_dir = start(runs_dir, status=RunStatus("stopped", tasks_done=1))
    reader = RunsReader(runs_dir)
    reader.read()
    run_dir.write_status(RunStatus("stopped", tasks_done=2))
    assert reader.read().runs[0].status.tasks_done == 2
    monkeypatch.setattr(RunDir, "read_status", None)
    assert reader.read().runs[0].status.tasks_done == 2
    monkeypatch.undo()
    run_dir.status_json.unlink()
    assert reader.read().runs[0].state == "queued"


def test_reading_restores_the_garbage_collector(runs_dir):
    start(runs_dir, num_tasks=1)
    for switch in (gc.disable, gc.enable):
        switch()
        was_enabled = gc.isenabled()
        RunsReader(runs_dir).read()
        assert gc.isenabled() == was_enabled


def test_a_run_resumed_from_its_checkpoint_is_read_again(runs_dir):
    run_dir = start(runs_dir, num_tasks=9)
    reader = RunsReader(runs_dir)
    reader.read()
    grow(run_dir, 100, 20, keep=4)
    assert accuracy(reader.read().runs[0]) == accuracies_of(0, 1, 2, 3, *range(100, 120))


def test_a_run_that_is_started_over_is_read_again(runs_dir):
    run_dir = start(runs_dir, num_tasks=9)
    reader = RunsReader(runs_dir)
    (old,) = reader.read().runs
    run_dir.clear()
    start(runs_dir)
    write_json(run_dir.run_json, {"spec": SPEC.to_dict() | {"num_tasks": 77}})
    grow(run_dir, 50, 2)
    (view,) = reader.read().runs
    assert accuracy(view) == accuracies_of(50, 51)
    assert view.num_tasks == 77
    assert accuracy(old) == accuracies_of(*range(9))


def test_a_rewritten_run_json_is_read_again(runs_dir):
    run_dir = start(runs_dir)
    reader = RunsReader(runs_dir)
    reader.read()
    run_dir.run_json.write_text(json.dumps({"spec": {"num_tasks": 31}}))
    assert reader.read().runs[0].num_tasks == 31


def test_vanished_runs_are_dropped(runs_dir):
    one, _ = start(runs_dir, "bp", num_tasks=2), start(runs_dir, "cbp", num_tasks=1)
    reader = RunsReader(runs_dir)
    assert len(reader.read().runs) == 2
    one.clear()
    assert [view.experiment for view in reader.read().runs] == ["cbp"]
    start(runs_dir, "bp", num_tasks=1)
    assert accuracy(reader.read().runs[0]) == accuracies_of(0)


def test_a_run_that_vanishes_during_reading_is_dropped(runs_dir, monkeypatch):
    run_dir = start(runs_dir, num_tasks=2)
    reader = RunsReader(runs_dir)
    reader.read()
    monkeypatch.setattr("lop_engine.runs.reading.find_runs", lambda _: [run_dir])
    run_dir.clear()
    (view,) = reader.read().runs
    assert (view.state, view.problem) == ("lost", "the run directory is going away")
    assert accuracy(view) == accuracies_of(0, 1)


def test_a_search_continues_when_a_directory_vanishes(runs_dir, monkeypatch):
    start(runs_dir, "bp")
    start(runs_dir, "cbp")
    scandir = os.scandir

    def vanishing(path):
        if os.fspath(path).endswith("bp/default") and "cbp" not in os.fspath(path):
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert [one.experiment for one in find_runs(runs_dir)] == ["cbp"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b""),
        ("run.json", b"[1]"),
        ("run.json", b"\xff"),
        ("run.json", b"{}"),
        ("run.json", b'{"spec": 3}'),
        ("run.json", b'{"spec": {"num_tasks": "many"}}'),
        ("status.json", b"{"),
        ("status.json", b"null"),
        ("status.json", b'{"state": "purple"}'),
        ("status.json", b'{"state": "running", "pid": "x"}'),
        ("status.json", b'{"heartbeat_at": []}'),
        ("tasks.json", b"not a record file\n"),
        ("tasks.json", b'{"tasks": {\n"1": {"test_accuracy":"x"}\n}}\n'),
        ("tasks.json", b'{"tasks": {\n"1": {"test_accuracy":[1,2]}\n}}\n'),
        ("tasks.json", b'{"tasks": {\n"2": {}\n}}\n'),
        ("tasks.json", None),
        ("status.json", None),
        ("run.json", None),
    ],
)
def test_an_unreadable_file_is_the_problem_of_its_run_until_it_is_repaired(runs_dir, name, content):
    start(runs_dir, "aaa", num_tasks=1)
    run_dir = start(runs_dir, "bp", num_tasks=2)
    reader = RunsReader(runs_dir)
    path = run_dir.path / name
    good = path.read_bytes()
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    for _ in range(2):
        healthy, broken = reader.read().runs
        assert (healthy.problem, accuracy(healthy)) == (None, accuracies_of(0))
        assert broken.state == "failed"
        assert broken.problem.startswith(f"{path}: ")
        assert "\n" not in broken.problem
        assert broken.num_tasks in (0, 200)
    path.rmdir() if content is None else path.unlink()
    path.write_bytes(good)
    mended = reader.read().runs[1]
    assert (mended.state, mended.problem, accuracy(mended)) == ("stopped", None, accuracies_of(0, 1))


def test_a_status_of_another_version_is_read(runs_dir):
    run_dir = start(runs_dir)
    write_json(run_dir.status_json, {"state": "finished", "colour": "red", "tasks_done": 3})
    assert run_dir.read_status() == RunStatus("finished", tasks_done=3)


def test_a_run_without_status_is_queued(runs_dir):
    run_dir = start(runs_dir)
    run_dir.status_json.unlink()
    assert run_dir.read_status() == RunStatus("queued")
    assert RunsReader(runs_dir).read().runs[0].state == "queued"


def test_a_status_is_read_as_it_was_written(runs_dir):
    run_dir = start(runs_dir)
    status = RunStatus("running", 9, 8, 7, 6, 5, 4.5, "host", "cpu", 1.0, 2.0, 3.0, None, [1, 2], "error")
    for durable in (False, True):
        run_dir.write_status(status, durable)
        assert run_dir.read_status() == status


def test_a_failed_write_of_json_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        read_json(tmp_path)


def test_an_unchanged_run_is_the_same_object_in_the_next_snapshot(tmp_path: Path) -> None:
    changed, quiet = (make_run(tmp_path, "bp", seed, num_tasks=5, state="finished") for seed in range(2))
    broken = make_run(tmp_path, "bp", 2, num_tasks=5, state="finished")
    broken.tasks_json.write_text("no record\n")
    reader = RunsReader(tmp_path)
    before = reader.read().runs
    assert all(one is other for one, other in zip(reader.read().runs, before, strict=True))
    with TableWriter(changed.tasks_json, "tasks") as table:
        table.append(task_document(5, {"classes": [0, 1]}, 1.0, {"test_accuracy": 0.5}))
    now = reader.read().runs
    assert [one is other for one, other in zip(now, before, strict=True)] == [False, True, True]
    assert now[0].tasks_recorded == 6
    quiet.write_status(replace(quiet.read_status(), note="seen"))
    assert [one is other for one, other in zip(reader.read().runs, now, strict=True)] == [True, False, True]
