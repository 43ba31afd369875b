"""Measurements: `make bench`. Never part of a test."""
