"""Check my_problem. Run it with pytest, or as a script: python test_my_problem.py"""

from pathlib import Path

import torch

from lop_engine.testing import check_file, trained

FILE = Path(__file__).with_name("my_problem.py")


def test_it_keeps_the_rules() -> None:
    """Check the rules of lop's own problems: a RuleError says which one is broken, where, and what to do.

    A task is the same for a seed alone, in a stack, and in a run that begins at it; shapes are static, a run resumes to
    the same bits, the loss falls.
    """
    check_file(FILE, examples=20)


def test_it_does_what_it_promises() -> None:
    """Test what is special about your problem: both signs occur, and tasks differ."""
    problem = trained(FILE, "my_problem", examples=100).problem
    first, second, *_ = problem.tasks([0, 1], torch.device("cpu"))
    assert set(first.train_targets.unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(first.train_inputs, second.train_inputs)


if __name__ == "__main__":
    test_it_keeps_the_rules()
    test_it_does_what_it_promises()
    print("my_problem: passed")
