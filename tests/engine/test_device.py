"""A process and its threads use the device that they were given. Uses a stand-in for torch.cuda."""

import io
import os
import sys
import threading

import pytest
import torch

from lop_engine.bench import child
from lop_engine.device import prepare_device, use_device
from lop_engine.device.background import Background
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import prepare_run_dirs
from lop_engine.problems import build_problem
from lop_engine.training import loop
from lop_engine.worker import stack
from lop_engine.worker.process import Worker
from tests.helpers import TINY

GPU = torch.device("cuda", 1)


@pytest.fixture
def current(monkeypatch):
    """Return a dict with the current CUDA device of each thread that set one, by thread number."""
    devices: dict[int, int] = {}
    monkeypatch.setattr(torch.cuda, "set_device", lambda d: devices.update({threading.get_ident(): d.index}))
    return devices


@pytest.fixture(autouse=True)
def as_before():
    deterministic = torch.backends.cudnn.deterministic
    yield
    torch.backends.cudnn.deterministic = deterministic


def test_only_a_numbered_gpu_becomes_current(current):
    for name in ("cpu", "cuda", "meta"):
        use_device(torch.device(name))
    assert not current
    use_device(GPU)
    assert current == {threading.get_ident(): 1}


def test_convolutions_are_float32_and_deterministic(current):
    prepare_device(GPU)
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert current == {threading.get_ident(): 1}


def test_a_worker_trains_with_its_gpu_current(current, tmp_path, monkeypatch):
    [run_dir] = prepare_run_dirs(tmp_path, [Run("bp", "default", 0, Spec(**TINY))]).to_train
    at_start = []
    monkeypatch.setattr(stack, "train_runs", lambda *args, **options: at_start.append(dict(current)))
    monkeypatch.setattr("signal.signal", lambda *args: None)
    monkeypatch.setattr("signal.alarm", lambda seconds: 0)
    assert Worker([run_dir], "cuda:1", torch.get_num_threads()).run() == 0
    assert at_start == [{threading.get_ident(): 1}]


def test_the_child_that_times_jobs_has_its_gpu_current(current, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["child", "--device", "cuda:1", "--threads", str(torch.get_num_threads())])
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(os, "dup2", lambda *numbers: None)  # keep this process's stdout
    child.main()
    assert current == {threading.get_ident(): 1}


@pytest.fixture
def pinned(current, monkeypatch):
    """Return a list with thread and current device for each pinned tensor; copies to the GPU do nothing."""
    calls = []

    def pin(tensor):
        calls.append((threading.get_ident(), current.get(threading.get_ident())))
        return tensor

    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", lambda x, where, **how: x if where == GPU else to(x, where, **how))
    return calls


@pytest.mark.parametrize("what", ["task", "order"])
def test_the_thread_that_prepares_data_has_its_gpu_current(pinned, what):
    """Pinning memory opens a context on the current GPU; on GPU 0 it would use memory of a GPU that was not chosen."""
    spec = Spec(**TINY)
    if what == "task":
        next(build_problem(spec).tasks([0], GPU))
    else:
        next(loop.batch_orders([0], 24, [(0, 0), (0, 1)], GPU))
    assert pinned
    for thread, device in pinned:
        assert thread != threading.get_ident()
        assert device == 1


def test_the_thread_that_finishes_metrics_has_its_gpu_current(current):
    devices = []
    with Background(GPU, "test") as calls:
        calls.submit(lambda: devices.append(current.get(threading.get_ident())))
    assert devices == [1]
    assert threading.get_ident() not in current
