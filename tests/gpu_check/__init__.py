"""Tests of `make gpu-check` on a CPU."""
