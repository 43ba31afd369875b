"""Failing workers: their exit status, and the error in the status of their runs."""

import signal

import pytest
import torch

from lop_engine import metrics
from lop_engine.device import background
from lop_engine.errors import CaptureError, ReplayError, StoreError
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import prepare_run_dirs
from lop_engine.problems import continual_imagenet
from lop_engine.runs.locks import FAILED, NO_CUDA_GRAPH, OUT_OF_MEMORY, REFUSED
from lop_engine.runs.records import RunStatus
from lop_engine.training import loop
from lop_engine.training.learner import Learner
from lop_engine.worker.process import Worker
from tests.helpers import TINY

CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB of which 3.12 MiB is free"
)
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.fixture(autouse=True)
def signals_stay_ours(monkeypatch):
    """Restore signal handlers, because the worker runs in this process."""
    monkeypatch.setattr(signal, "signal", lambda *args: None)
    monkeypatch.setattr(signal, "alarm", lambda seconds: 0)


@pytest.fixture
def train(tmp_path):
    """Return a function that trains seeds in a worker and returns its exit status and a run's status."""

    def run(num_seeds: int = 1, **options) -> tuple[int, RunStatus]:
        runs = [Run("cbp", "default", seed, Spec(**TINY | {"metrics_every": 1})) for seed in range(num_seeds)]
        dirs = prepare_run_dirs(tmp_path, runs).to_train
        return Worker(dirs, "cpu", torch.get_num_threads(), **options).run(), dirs[-1].read_status()

    return run


def failing(error: Exception):
    def fail(*args, **kwargs):
        raise error

    return fail


PLACES = {
    "a step": (Learner, "step"),
    "the metrics": (loop, "start_measuring"),
    "the end of the metrics": (metrics.Measurement, "result"),
    "a capture": (loop, "fast_step"),
    "the next task's images": (continual_imagenet, "stack_images"),
    "the start of an epoch": (Learner, "start_epoch"),
}


@pytest.mark.parametrize("in_threads", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_running_out_of_memory_anywhere_in_training_has_its_own_exit_status(place, in_threads, train, monkeypatch):
    """On a GPU an epoch ends in another thread, while the next one trains."""
    monkeypatch.setattr(background, "works_beside", lambda device: in_threads)
    monkeypatch.setattr(*PLACES[place], failing(CUDA))
    code, status = train(2)
    assert code == OUT_OF_MEMORY
    assert status.state == "failed"
    assert "2 runs in one worker (tried to allocate 20.00 MiB); resume with fewer --runs-per-worker" in status.error


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (CUDA, " (tried to allocate 20.00 MiB)"),
        (CPU, " (tried to allocate 4000 bytes)"),
        (torch.OutOfMemoryError("allocation failed"), ""),
        (MemoryError(), ""),
        (OSError(12, "Cannot allocate memory"), ""),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), ""),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), ""),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), ""),
    ],
)
def test_every_out_of_memory_error_is_reported_with_advice(error, tried, train, monkeypatch):
    monkeypatch.setattr(Learner, "step", failing(error))
    code, status = train()
    assert code == OUT_OF_MEMORY
    assert status.error == (
        f"cpu: out of memory with a single run{tried}; free memory there, or choose another --device, "
        "then lop resume; or start over with a smaller mini_batch_size"
    )


def test_an_out_of_memory_error_behind_another_error_is_found(train, monkeypatch):
    """Ending a failed capture raises another error, and a file too large for memory is reported as damaged."""

    def fail(*args):
        try:
            raise CUDA
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def fail_to_read(*args):
        try:
            raise MemoryError
        except MemoryError as error:
            raise StoreError("checkpoint.pt: damaged checkpoint; start this run over with --fresh") from error

    for how in (fail, fail_to_read):
        monkeypatch.setattr(Learner, "step", how)
        code, status = train()
        assert code == OUT_OF_MEMORY
        assert "out of memory" in status.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CaptureError("the training step cannot be captured as a CUDA graph: operation not permitted"), NO_CUDA_GRAPH),
        (ReplayError("the CUDA graph of the training step is empty"), REFUSED),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), FAILED),
        (OSError(28, "No space left on device"), FAILED),
    ],
)
def test_other_failures_have_their_own_exit_status(error, code, train, monkeypatch):
    monkeypatch.setattr(Learner, "step", failing(error))
    ended, status = train()
    assert ended == code
    assert status.state == "failed"
    assert status.error


def test_a_worker_can_be_started_without_cuda_graphs_with_a_note(train, monkeypatch):
    used_graphs, fast_step = [], loop.fast_step

    def watched(learner, device, cuda_graphs):
        used_graphs.append(cuda_graphs)
        return fast_step(learner, device, cuda_graphs)

    monkeypatch.setattr(loop, "fast_step", watched)
    code, status = train(cuda_graphs=False, notes=["the images are a copy", "trained without CUDA graphs"])
    assert (code, used_graphs, status.state) == (0, [False], "finished")
    assert status.note == "the images are a copy; trained without CUDA graphs"
