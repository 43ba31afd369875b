"""Measures costs on this machine, for `lop bench` and the estimate of `lop run --dry-run`.

The `bench` folder of a checkout has measurements for lop's developers; it is not installed.

Training is measured in child processes (`child`) with the environment of a worker, or of an ordinary script.
Jobs to compare alternate, round after round (`measure`).
"""
