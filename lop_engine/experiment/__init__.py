"""Experiment files, and descriptions of the components that they name, without torch."""
