"""Runs on a Slurm cluster: stacks of runs become the tasks of a job array (through submitit).

A task is a launcher on its node (`task`); its input is in the run directories, on a file system that
login node and compute nodes share. `jobs` queries Slurm about them.

Nothing else in lop names Slurm, apart from the line of `lop_engine.runs.jobs.CLUSTERS` and the help of its options.
"""
