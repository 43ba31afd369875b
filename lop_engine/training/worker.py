"""``python -m lop_engine.training.worker``, which launchers of older versions start."""

import runpy

if __name__ == "__main__":
    runpy.run_module("lop_engine.worker", run_name="__main__", alter_sys=True)
