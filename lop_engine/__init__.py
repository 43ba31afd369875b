"""The engine of lop: experiments, training, records. It knows no screen.

docs/architecture.md says what is where, and which modules need torch; the others start fast.
"""

__version__ = "0.1.0"

NUMERICS = 1
"""Raised when the same configuration and seed give other numbers than before: when golden figures change."""
