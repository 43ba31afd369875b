"""Runs on a Slurm cluster: stacks of runs become the tasks of a job array (through submitit).

A task is a launcher of its own on its node (`task`); what it needs is in the run directories, on a file system that
login node and compute nodes share. What Slurm knows of the jobs is asked by `lop_engine.runs.scheduler`.
"""

from lop_engine.launch.slurm.limits import fit_to_cluster
from lop_engine.launch.slurm.options import SlurmOptions, SlurmRequest, read_options
from lop_engine.launch.slurm.submission import Submission, cancel, release

__all__ = ["SlurmOptions", "SlurmRequest", "Submission", "cancel", "fit_to_cluster", "read_options", "release"]
