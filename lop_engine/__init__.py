"""The engine of lop: experiments, training, records. It knows no screen.

docs/architecture.md says what is where. Modules that need torch: nets, optimizers, learners, metrics, training,
checkpoint, stack, and worker once it runs; the others start fast.
"""

__version__ = "0.1.0"
