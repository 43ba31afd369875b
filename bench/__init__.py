"""Measurements for lop's developers, run from a checkout (`make bench`, `make gpu-check`).

pyperf was tried for the step: three measurements of the same code on a busy machine gave 402, 501 and 946 ms, because
it counts wall time and cannot let two versions take turns. Like pytest-benchmark it times functions; most measurements
here are of whole processes: their memory, files, system calls and screens.

What users measure (`lop bench`) is in `lop_engine.bench`, because the installed package needs it.
"""
