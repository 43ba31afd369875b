"""Runs on a Slurm cluster: stacks of runs become the tasks of a job array (through submitit).

A task is a launcher of its own on its node (`task`); what it needs is in the run directories, on a file system that
login node and compute nodes share. `jobs` asks Slurm what it knows of them.

Nothing else in lop names Slurm, apart from the line of `lop_engine.runs.jobs.CLUSTERS` and the help of its options.
"""
