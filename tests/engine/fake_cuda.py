"""A stand-in for CUDA streams and graphs on a machine without a GPU.

A capture records the operations that torch runs during it, with their tensors. A replay runs them again on the same
tensors, without the Python code between them. As on a GPU, only work on the current device is captured.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch

from lop_engine.testing.steps import Recorder, replay


class Graph:
    """Replaces torch.cuda.CUDAGraph."""

    def __init__(self):
        self.calls, self.replays = [], 0

    def replay(self):
        self.replays += 1
        replay(self.calls)


class Stream:
    """Replaces torch.cuda.Stream."""

    def wait_stream(self, stream):
        pass


@dataclass
class FakeCuda:
    """Records calls, and simulates failures."""

    device: int = 0
    """Where the tensors are."""
    current: int = 0
    streams: list[Stream] = field(default_factory=lambda: [Stream()])
    """Those that are current, the innermost last."""
    captured_on: list[Stream] = field(default_factory=list)
    graphs: list[Graph] = field(default_factory=list)
    fail: Exception | None = None
    """Raised within a capture; its end raises another error, as CUDA's does."""

    def set_device(self, device):
        self.current = torch.device(device).index

    @contextmanager
    def stream(self, stream):
        self.streams.append(stream)
        try:
            yield
        finally:
            self.streams.pop()

    @contextmanager
    def graph(self, graph, pool=None, stream=None, capture_error_mode="global"):
        self.captured_on.append(stream)
        self.graphs.append(graph)
        try:
            with Recorder() as recorder, self.stream(stream):
                yield
                if self.fail:
                    raise self.fail
        finally:
            if self.fail:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        if self.current == self.device:
            graph.calls = recorder.calls


@pytest.fixture
def fake_cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setattr(torch.cuda, "set_device", fake.set_device)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: fake.streams[-1])
    monkeypatch.setattr(torch.cuda, "stream", fake.stream)
    monkeypatch.setattr(torch.cuda, "graph", fake.graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    return fake
