"""The engine of lop: experiments, training, records. It knows no screen.

Modules above the line need no torch and start fast; those below do the training:
errors, methods, spec, records, streams, rundir, store, datasets, runs, analysis, launch
---
nets, optimizers, learners, metrics, training, checkpoint, worker
"""

__version__ = "0.1.0"
