"""Measurements for lop's developers, run from a checkout (`make bench`, `make gpu-check`); never part of a test.

What users measure (`lop bench`) is in `lop_engine.bench`, because the installed package needs it.
"""
