"""Workers whose training fails on purpose, in place of failures on a GPU."""

import pytest

#: Code that Python runs when a worker starts; it makes the training fail in the way that the test chose.
BROKEN = """
import os, sys

if "lop_engine.worker" in sys.orig_argv:
    import torch
    from lop_engine.training import loop
    from lop_engine.errors import CaptureError

    fast_step = loop.fast_step

    def broken(learner, device, cuda_graphs):
        if cuda_graphs and "capture" in os.environ["BROKEN"]:
            raise CaptureError("the training step cannot be captured as a CUDA graph: operation not permitted")
        if len(learner.seeds) > int(os.environ["FITS"]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 is full.")
        return fast_step(learner, device, cuda_graphs)

    loop.fast_step = broken
"""


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """Return a function that sets how the next workers fail."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))

    def fail(capture: bool = False, fits: int = 99) -> None:
        monkeypatch.setenv("BROKEN", "capture" if capture else "")
        monkeypatch.setenv("FITS", str(fits))

    return fail
