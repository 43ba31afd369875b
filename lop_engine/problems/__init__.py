"""Problems: streams of tasks with a loss and a score, by the name in a spec."""

from lop_engine.experiment.code import load
from lop_engine.experiment.spec import Spec
from lop_engine.problems.problem import Problem, Task

__all__ = ["Problem", "Task", "build_problem"]


def build_problem(spec: Spec) -> Problem:
    """Return the problem of a spec."""
    problem: Problem = load(spec.parts.problem)(spec)
    return problem
