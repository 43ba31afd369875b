"""Real worker processes, started as by `lop run`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from tinydb import TinyDB

from lop_engine.errors import LaunchError
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import LocalLauncher, Resources, plan_runs, prepare_run_dirs
from lop_engine.processes import Process, start_of
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import RunFiles
from lop_engine.runs.locks import LOCKED
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import read_table
from lop_engine.training.learner import Learner
from lop_engine.worker import stack
from lop_engine.worker.process import Worker, beat_every_s
from tests.helpers import TINY


def make_runs(experiment="cbp", seeds=(0,), **changes) -> list[Run]:
    spec = Spec(**(TINY | {"num_showings": 2, "metrics_every": 1} | changes))
    return [Run(experiment, "default", seed, spec) for seed in seeds]


LAUNCHED: list[LocalLauncher] = []


def launch(run_dirs, workers=2, runs_per_worker=1) -> LocalLauncher:
    LAUNCHED.append(LocalLauncher(plan_runs(run_dirs, Resources(["cpu"] * workers, 1, runs_per_worker))))
    return LAUNCHED[-1]


@pytest.fixture(autouse=True)
def no_worker_outlives_its_test():
    yield
    while LAUNCHED:
        LAUNCHED[-1].stop(at_once=True)
        finish(LAUNCHED.pop())


def finish(launcher: LocalLauncher, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while launcher.active:
        launcher.poll()
        assert time.monotonic() < deadline, "workers did not end"
        time.sleep(0.05)


def wait_for(condition, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def without_times(documents: list[dict]) -> list[dict]:
    return [{key: value for key, value in document.items() if key != "seconds"} for document in documents]


@pytest.mark.long
def test_two_methods_train_side_by_side_into_tinydb_files(tmp_path):
    runs = make_runs("bp", (0, 1), agent="bp") + make_runs("cbp", (0, 1))
    prepared = prepare_run_dirs(tmp_path, runs)
    assert len(prepared.to_train) == 4
    finish(launch(prepared.to_train, runs_per_worker=2))
    for view in RunsReader(tmp_path).read().runs:
        assert view.state == "finished", view.status.error
        assert view.status.tasks_done == 3
        assert view.status.log_of == "default/seed_000"
        assert len(view.series["test_accuracy"]) == 3
        with TinyDB(view.dir.tasks_json) as tasks_db, TinyDB(view.dir.epochs_json) as epochs_db:
            tasks, epochs = tasks_db.table("tasks").all(), epochs_db.table("epochs").all()
        assert [task["task"] for task in tasks] == [0, 1, 2]
        assert [(e["task"], e["epoch"]) for e in epochs] == [(t, e) for t in range(3) for e in range(2)]
        assert epochs[-1]["test_accuracy"] == tasks[-1]["test_accuracy"]
        assert view.dir.checkpoint.exists()
        config = view.dir.read_config()
        assert config["versions"].keys() >= {"lop", "torch", "numpy", "python"}
    again = prepare_run_dirs(tmp_path, runs)
    assert again.to_train == []
    assert len(again.done) == 4


@pytest.mark.long
def test_a_stack_records_the_same_as_each_seed_alone(tmp_path):
    alone = prepare_run_dirs(tmp_path / "alone", make_runs(seeds=(1,))).to_train
    together = prepare_run_dirs(tmp_path / "together", make_runs(seeds=(0, 1))).to_train
    finish(launch(alone))
    finish(launch(together, runs_per_worker=2))
    for mine, theirs in zip(read_table(alone[0].tasks_json), read_table(together[1].tasks_json), strict=True):
        assert mine["classes"] == theirs["classes"]
        for name in ("train_accuracy", "test_accuracy", "weight_magnitude", "effective_rank"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3)


def test_a_queued_run_whose_run_json_was_removed_is_left_out(tmp_path):
    removed, remaining = prepare_run_dirs(tmp_path, make_runs(seeds=(0, 1))).to_train
    launcher = launch([removed, remaining], workers=1, runs_per_worker=2)
    removed.run_json.unlink()
    finish(launcher)
    assert remaining.read_status().state == "finished"


@pytest.mark.long
def test_a_stopped_run_resumes_without_a_gap(tmp_path):
    changes = {"num_tasks": 60, "num_showings": 1}
    [whole] = prepare_run_dirs(tmp_path / "whole", make_runs(**changes)).to_train
    [broken] = prepare_run_dirs(tmp_path / "broken", make_runs(**changes)).to_train
    launcher = launch([broken])
    launcher.poll()
    wait_for(lambda: broken.tasks_json.exists() and len(read_table(broken.tasks_json)) > 2)
    launcher.stop()
    finish(launcher, 15)
    status = broken.read_status()
    assert status.state == "stopped"
    assert 0 < status.tasks_done < 60
    prepared = prepare_run_dirs(tmp_path / "broken", make_runs(**changes))
    assert prepared.resumed == [broken]
    finish(launch([broken, whole]))
    assert broken.read_status().state == "finished"
    for path in ("tasks.json", "epochs.json"):
        assert without_times(read_table(broken.path / path)) == without_times(read_table(whole.path / path))


def test_the_run_of_a_killed_worker_fails_with_the_reason_and_can_resume(tmp_path):
    runs = make_runs(num_tasks=400)
    [run_dir] = prepare_run_dirs(tmp_path, runs).to_train
    launcher = launch([run_dir])
    launcher.poll()
    wait_for(lambda: run_dir.tasks_json.exists() and read_table(run_dir.tasks_json))
    os.kill(run_dir.read_status().pid, signal.SIGKILL)
    finish(launcher)
    status = run_dir.read_status()
    assert status.state == "failed"
    assert "SIGKILL" in status.error
    assert prepare_run_dirs(tmp_path, runs).to_train == [run_dir]


def test_a_stop_before_the_worker_handles_signals_stops_the_run(tmp_path):
    [run_dir] = prepare_run_dirs(tmp_path, make_runs()).to_train
    launcher = launch([run_dir])
    launcher.poll()
    launcher.stop()
    finish(launcher)
    assert run_dir.read_status().state == "stopped"


def test_a_worker_that_cannot_finish_its_epoch_in_time_abandons_it(tmp_path, monkeypatch):
    """The three seconds may end at any point, also during the import of torch."""
    [run_dir] = prepare_run_dirs(tmp_path, make_runs(num_tasks=2, num_showings=10_000_000, metrics_every=0)).to_train
    launcher = launch([run_dir])
    launcher.poll()
    wait_for(lambda: run_dir.read_status().state == "running")
    launcher.stop()
    finish(launcher, 20)
    assert run_dir.read_status().state == "stopped"


def test_records_without_run_json_are_neither_resumed_nor_removed_without_fresh(tmp_path):
    [run_dir] = prepare_run_dirs(tmp_path, make_runs()).to_train
    finish(launch([run_dir]))
    run_dir.run_json.unlink()
    with pytest.raises(LaunchError, match=r"holds tasks\.json but no run\.json; put run\.json back"):
        prepare_run_dirs(tmp_path, make_runs(step_size=0.5))
    assert len(read_table(run_dir.tasks_json)) == 3
    prepared = prepare_run_dirs(tmp_path, make_runs(step_size=0.5), fresh=True)
    assert prepared.to_train == [run_dir]
    assert prepared.resumed == []
    assert sorted(path.name for path in run_dir.path.iterdir()) == ["run.json", "status.json"]


def test_only_the_chosen_metrics_are_recorded(tmp_path):
    [run_dir] = prepare_run_dirs(tmp_path, make_runs(metrics=["dead_proportion", "curvature"])).to_train
    finish(launch([run_dir]))
    assert run_dir.read_status().error is None
    document = read_table(run_dir.tasks_json)[-1]
    assert list(document) == ["task", "classes", "seconds", "dead_proportion", "curvature"]
    assert set(RunsReader(tmp_path).read().runs[0].series) == {"dead_proportion", "curvature"}


def test_epochs_without_the_curvature_have_no_entry_for_it(tmp_path):
    [run_dir] = prepare_run_dirs(tmp_path, make_runs(num_showings=3, num_tasks=1, curvature_every=0)).to_train
    finish(launch([run_dir]))
    assert ["curvature" in document for document in read_table(run_dir.epochs_json)] == [False, False, True]
    assert all(document["test_accuracy"] is not None for document in read_table(run_dir.epochs_json))
    assert read_table(run_dir.tasks_json)[0]["curvature"] > 0


def test_a_run_is_not_trained_twice_at_once(tmp_path):
    runs = make_runs(num_tasks=4000)
    [run_dir] = prepare_run_dirs(tmp_path, runs).to_train
    launcher = launch([run_dir])
    launcher.poll()
    wait_for(lambda: run_dir.read_status().state == "running")
    with pytest.raises(LaunchError, match="is being trained now by process"):
        prepare_run_dirs(tmp_path, runs)
    with pytest.raises(LaunchError, match="is being trained now"):
        prepare_run_dirs(tmp_path, runs, fresh=True)
    second = subprocess.run(
        [sys.executable, "-m", "lop_engine.worker", str(run_dir.path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == LOCKED
    assert "is being trained now by process" in second.stderr
    assert "Traceback" not in second.stderr
    launcher.stop(at_once=True)
    finish(launcher)
    assert run_dir.read_status().state == "stopped"


def test_a_worker_whose_run_was_taken_over_ends_at_once(tmp_path):
    [run_dir] = prepare_run_dirs(tmp_path, make_runs(num_tasks=4000)).to_train
    run_dir.write_status(replace(run_dir.read_status(), heartbeat_every_s=0.1))
    command = [sys.executable, "-m", "lop_engine.worker", str(run_dir.path)]
    with subprocess.Popen(command) as worker:
        wait_for(lambda: run_dir.read_status().state == "running")
        theirs = replace(run_dir.read_status(), host="node2")
        while worker.poll() is None:  # a concurrent heartbeat may overwrite it
            run_dir.write_status(theirs)
            time.sleep(0.2)
    assert worker.returncode == LOCKED
    assert run_dir.read_status() == theirs


@pytest.mark.parametrize(("cost_s", "every_s"), [(0, 2), (0.015, 2), (0.2, 20), (5, 60)])
def test_heartbeats_cost_at_most_one_percent_of_the_time_and_come_at_least_every_minute(cost_s, every_s):
    assert beat_every_s(2, cost_s) == every_s
    assert beat_every_s(15, cost_s) == max(15, every_s)


def test_the_status_of_many_runs_says_how_often_their_worker_writes_it(tmp_path, monkeypatch):
    run_dirs = prepare_run_dirs(tmp_path, make_runs(seeds=range(3))).to_train
    monkeypatch.setattr("lop_engine.worker.process.beat_every_s", lambda least_s, cost_s: 0.05)
    worker = Worker(run_dirs, "cpu", 1)
    worker.least_beat_s = 0.01
    for run in worker.runs:
        run.set_status(state="running", heartbeat_every_s=0.01)
    beating = threading.Thread(target=worker.beat)
    beating.start()
    wait_for(lambda: {run_dir.read_status().heartbeat_every_s for run_dir in run_dirs} == {0.05})
    worker.ended.set()
    beating.join()
    monkeypatch.setattr("lop_engine.worker.process.ignore_signals", lambda: None)
    worker.end("stopped")
    assert {run_dir.read_status().heartbeat_every_s for run_dir in run_dirs} == {0.01}
    run_dirs[0].write_status(replace(run_dirs[0].read_status(), heartbeat_every_s=60.0))  # its worker was killed
    assert prepare_run_dirs(tmp_path, make_runs(seeds=range(3))).to_train == run_dirs
    assert run_dirs[0].read_status().heartbeat_every_s == 2


def test_another_configuration_under_the_same_name_is_refused(tmp_path):
    prepare_run_dirs(tmp_path, make_runs())
    with pytest.raises(LaunchError, match=r"step_size 0\.02 -> 0\.5"):
        prepare_run_dirs(tmp_path, make_runs(step_size=0.5))
    prepare_run_dirs(tmp_path, make_runs(num_runs=30))  # keys that do not affect results may differ
    fresh = prepare_run_dirs(tmp_path, make_runs(step_size=0.5), fresh=True)
    assert fresh.resumed == []
    assert RunDir.of(tmp_path, make_runs()[0]).read_config()["spec"]["step_size"] == 0.5


def test_an_error_of_the_worker_is_in_the_status(tmp_path):
    [run_dir] = prepare_run_dirs(tmp_path, make_runs()).to_train
    run_dir.checkpoint.write_bytes(b"not a checkpoint")
    finish(launch([run_dir]))
    status = run_dir.read_status()
    assert status.state == "failed"
    assert "damaged checkpoint" in status.error
    assert str(run_dir.checkpoint) in status.error


def test_a_diverging_run_ends_as_diverged_with_nulls_in_its_records(tmp_path):
    runs = make_runs("bp", agent="bp", step_size=1e3, num_tasks=50)
    [run_dir] = prepare_run_dirs(tmp_path, runs).to_train
    finish(launch([run_dir]))
    status = run_dir.read_status()
    assert status.state == "diverged"
    documents = read_table(run_dir.tasks_json) or read_table(run_dir.epochs_json)
    assert documents[-1]["test_accuracy"] is None
    assert len(documents) < 50
    json.loads(run_dir.epochs_json.read_text())
    assert prepare_run_dirs(tmp_path, runs).done == [run_dir]


def test_a_diverged_seed_stops_recording_and_the_other_seed_is_unchanged(tmp_path, monkeypatch):
    runs = make_runs(seeds=(0, 1), mini_batch_size=7, checkpoint_every_s=0)
    whole = prepare_run_dirs(tmp_path / "whole", runs).to_train
    broken = prepare_run_dirs(tmp_path / "broken", runs).to_train

    def train(run_dirs) -> None:
        files = [RunFiles(run_dir) for run_dir in run_dirs]
        for run in files:
            run.set_status(state="running", num_tasks=3, num_epochs=2)
        stack.train_runs([run.spec for run in runs], files, torch.device("cpu"), lambda: False)

    train(whole)
    step = Learner.step

    def step_and_spoil(learner, images, labels):
        result = step(learner, images, labels)
        if images.shape[1] < 7:  # the last, shorter batch of an epoch
            with torch.no_grad():
                learner.params["conv1.weight"][0].fill_(torch.inf)
        return result

    monkeypatch.setattr(Learner, "step", step_and_spoil)
    train(broken)
    status = broken[0].read_status()
    assert status.state == "diverged"
    assert "no longer finite" in status.error
    assert read_table(broken[0].epochs_json)[-1]["test_accuracy"] is None
    assert len(read_table(broken[0].epochs_json)) == 1
    assert broken[1].read_status().state == "finished"
    for name in ("tasks.json", "epochs.json"):
        assert without_times(read_table(broken[1].path / name)) == without_times(read_table(whole[1].path / name))
    prepared = prepare_run_dirs(tmp_path / "broken", runs)
    assert prepared.done == broken


def test_a_worker_trains_no_run_that_another_live_process_has_queued(tmp_path):
    [run_dir] = prepare_run_dirs(tmp_path, make_runs()).to_train
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        launcher = Process(other.pid, socket.gethostname(), start_of(other.pid), time.time())
        run_dir.write_status(replace(run_dir.read_status(), launcher=launcher))
        command = [sys.executable, "-m", "lop_engine.worker", "--launcher=node1:7:boot/1", str(run_dir.path)]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert refused.returncode == LOCKED
        assert f"{run_dir.name}: is queued by process {other.pid} on" in refused.stderr
        other.communicate()
    assert run_dir.read_status().state == "queued"
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0  # its launcher has ended
    assert run_dir.read_status().state == "finished"
