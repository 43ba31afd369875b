"""Problems: streams of tasks with a loss and a score, found by the name that a spec gives them."""

from lop_engine.experiment.code import load
from lop_engine.experiment.spec import Spec
from lop_engine.problems.problem import Problem, Task

__all__ = ["Problem", "Task", "build_problem"]


def build_problem(spec: Spec) -> Problem:
    """The problem of a spec."""
    problem: Problem = load(spec.parts.problem)(spec)
    return problem
