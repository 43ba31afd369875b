"""The limit on workers is shared by all launchers of one runs directory."""

import os
import subprocess
import sys

import pytest

from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import (
    LocalLauncher,
    Places,
    Resources,
    look_at,
    places,
    plan_runs,
    prepare_run_dirs,
    stop_runs,
)
from tests.helpers import TINY


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that makes places for a runs directory on two cores; close taken places afterwards."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setattr(places, "cores", lambda: [0, 1])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(*devices: str, is_limited: bool = True, runs_dir: str = "runs") -> Places:
        return Places(tmp_path / runs_dir, Resources(list(devices), 1, 1), is_limited)

    return make


def test_two_launchers_have_no_more_workers_than_cores(make):
    one, two = make("cpu", "cpu"), make("cpu", "cpu")
    taken = [one.take("cpu"), two.take("cpu")]
    assert None not in taken
    assert one.take("cpu") is None
    assert two.take("cpu") is None
    assert "all cores" in two.explain("cpu")
    os.close(taken[0])
    assert two.take("cpu") is not None


def test_a_worker_keeps_its_place_after_its_launcher_ended(make):
    one, two = make("cpu"), make("cpu")
    place = one.take("cpu")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[place]) as worker:
        os.close(place)
        other = two.take("cpu")
        assert two.take("cpu") is None
        worker.communicate()
    assert two.take("cpu") is not None
    os.close(other)


def test_an_explicit_number_of_workers_does_not_wait_for_places(make):
    taken = [make("cpu").take("cpu") for _ in range(2)]
    unlimited = make(*["cpu"] * 4, is_limited=False)
    more = [unlimited.take("cpu") for _ in range(4)]
    assert None not in more
    assert make("cpu").take("cpu") is None
    for fd in taken + more:
        os.close(fd)


def test_a_launcher_that_waits_for_a_place_ends_when_all_its_runs_are_stopped(make, tmp_path):
    taken = [make("cpu").take("cpu") for _ in range(2)]
    runs = [Run("cbp", "default", seed, Spec(**TINY)) for seed in (0, 1)]
    dirs = prepare_run_dirs(tmp_path / "runs", runs).to_train
    launcher = LocalLauncher(plan_runs(dirs, Resources(["cpu"], 1, 1)), places=make("cpu"))
    launcher.poll()
    assert launcher.active
    views = look_at(tmp_path / "runs")
    stop_runs(views, views)
    launcher.poll()
    assert not launcher.active
    for fd in taken:
        os.close(fd)


def test_another_runs_directory_has_its_own_places(make):
    for _ in range(2):
        assert make("cpu").take("cpu") is not None
    assert make("cpu", runs_dir="others").take("cpu") is not None


def test_slurm_jobs_on_one_node_do_not_wait_for_each_other(make, monkeypatch):
    for job in ("12", "13"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # Slurm numbers the GPUs of each job from 0
        assert make("cuda:0").take("cuda:0") is not None
        assert make("cuda:0").take("cuda:0") is None


def test_a_gpu_has_as_many_places_as_the_plan_has_workers_there(make):
    one, two = make("cuda:0", "cuda:0", "cuda:1"), make("cuda:0")
    assert one.take("cuda:0") is not None
    assert two.take("cuda:0") is None
    assert one.take("cuda:0") is not None
    assert one.take("cuda:0") is None
    assert one.take("cuda:1") is not None


def test_a_gpu_is_identified_by_its_uuid_in_all_processes(make, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,MIG-bbbb/1/0")
    first, second = make("cuda:0"), make("cuda:1")
    assert first.take("cuda:0") is not None
    assert second.take("cuda:1") is not None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-bbbb/1/0")
    assert make("cuda:0").take("cuda:0") is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-cccc")
    assert make("cuda:0").take("cuda:0") is not None


def test_launchers_do_not_wait_if_places_cannot_be_locked(make, tmp_path):
    (tmp_path / "runtime").write_text("not a directory")
    for _ in range(5):
        assert make("cpu").take("cpu") is not None


def test_cleaning_removes_all_places_but_those_that_workers_hold(make, tmp_path):
    one, two = make("cpu"), make("cpu")
    first, second = one.take("cpu"), two.take("cpu")
    os.close(first)
    one.clean()
    third = two.take("cpu")
    assert third is not None
    assert one.take("cpu") is None
    os.close(second)
    os.close(third)
    two.clean()
    assert not list((tmp_path / "runtime").rglob("core-*"))
