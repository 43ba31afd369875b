"""Code that only runs on a GPU, tested on a fake one."""

import contextlib
import warnings

import pytest
import torch

from bench.gpu import child, engine, load, ways
from bench.gpu.engine import Setup
from bench.gpu.results import Results
from bench.gpu.stages import choose
from bench.gpu.ways import WAYS, Grouped, Separate, Variant
from tests.gpu_check.helpers import verdicts


class Gpu(Setup):
    """A CPU device that claims to be a GPU; its CUDA calls go to `fake_cuda`."""

    on_gpu = True


GPU = Gpu(torch.device("cpu"), small=True)


@pytest.fixture
def fake_cuda(monkeypatch):
    """Replace torch.cuda; ["mode"] is the mode of the detector of synchronising calls."""
    state = {"mode": "default", "allocated": 0, "reserved": 0}

    class Stream:
        def __init__(self, device=None):
            pass

        def wait_stream(self, other):
            pass

    class Graph:
        def replay(self):
            pass

    class Event:
        def __init__(self, enable_timing=False):
            pass

        def record(self):
            pass

        synchronize = record

        def elapsed_time(self, other):
            return 3.0

    fakes = {
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "set_sync_debug_mode": lambda mode: state.update(mode=mode),
        "mem_get_info": lambda device=None: (40 * 2**30, 80 * 2**30),
        "reset_peak_memory_stats": lambda device=None: None,
        "max_memory_reserved": lambda device=None: state["reserved"],
        "memory_allocated": lambda device=None: state["allocated"],
        "current_stream": Stream,
        "Stream": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "graph": lambda graph: contextlib.nullcontext(),
        "CUDAGraph": Graph,
        "Event": Event,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return state


def run_on_gpu(name: str) -> dict[str, str]:
    """Run a stage on the fake GPU; return the verdicts by check."""
    results = Results()
    child.run_stages(choose([name]), GPU, results.take)
    return {line.check: line.verdict for line in results.lines}


@pytest.mark.parametrize(("waits_a_step", "of_epoch"), [(0, "PASS"), (1, "FAIL")])
def test_a_step_that_waits_for_the_device_fails_the_check(waits_a_step, of_epoch, fake_cuda, monkeypatch):
    def wait() -> None:
        if fake_cuda["mode"] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        if fake_cuda["mode"] == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)

    def fake(learner, device):
        def step(*batch):
            for _ in range(waits_a_step):
                wait()
            return learner.step(*batch)

        return step

    monkeypatch.setattr(engine, "fast_step", fake)
    assert run_on_gpu("waiting") == {"an epoch": of_epoch, "queueing the metrics": "PASS"}
    assert fake_cuda["mode"] == "default"


def test_metrics_that_wait_for_the_device_fail_the_check(fake_cuda, monkeypatch):
    def start_measuring(stack):
        if fake_cuda["mode"] == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)

    monkeypatch.setattr(engine.Stack, "start_measuring", start_measuring)
    assert run_on_gpu("waiting") == {"an epoch": "PASS", "queueing the metrics": "FAIL"}


@pytest.mark.parametrize(
    ("reserved", "grows_by", "verdicts"), [(2**30, 0, ("PASS", "PASS")), (2**34, 2**21, ("FAIL", "FAIL"))]
)
def test_memory_above_the_plan_or_not_freed_fails_the_check(reserved, grows_by, verdicts, fake_cuda, monkeypatch):
    def train_and_measure(stack):
        fake_cuda["allocated"] += grows_by

    monkeypatch.setattr(load, "train_and_measure", train_and_measure)
    fake_cuda["reserved"] = reserved
    verdict_of = run_on_gpu("memory")
    assert (verdict_of["2 seeds"], verdict_of["2 seeds, growth"]) == verdicts


def test_convolutions_are_timed_as_graphs_and_unsupported_ways_get_a_note(fake_cuda, monkeypatch):
    class Unable(Grouped):
        def run(self, which):
            if which == "data" and self.images.dtype == torch.float32 and fake_cuda["timing"]:
                raise RuntimeError("not implemented for this type\nand more")
            return super().run(which)

    monkeypatch.setattr(ways, "WAYS", {"a": WAYS["im2col"], "b": Variant(Unable), "c": Variant(Separate)})
    monkeypatch.setattr(ways, "PRECISIONS", ("fp32",))
    fake_cuda["timing"] = False
    time_way = ways.time_way
    monkeypatch.setattr(ways, "time_way", lambda *args: fake_cuda.update(timing=True) or time_way(*args))
    results = Results()
    child.run_stages(choose(["convolutions"]), GPU, results.take)
    rows = {(row["way"], row["layer"]): row for row in results.table("convolutions")}
    assert rows["a", "conv2"]["forward_ms"] == 1.0
    assert rows["c", "conv2"]["data_ms"] == 1.0
    assert rows["b", "conv2"]["note"] == "not implemented for this type"
    assert verdicts(results) == {"PASS"}


@pytest.mark.long
def test_the_fused_kernels_are_compared_and_timed(fake_cuda):
    results = Results()
    child.run_stages(choose(["fused"]), GPU, results.take)
    assert verdicts(results) == {"PASS"}
    rows = results.table("convolutions")
    assert {row["precision"] for row in rows} == {"fp32", "tf32", "bf16"}
    assert all(row[f"{name}_ms"] == 1.0 for row in rows for name in ("forward", "data", "weight"))
