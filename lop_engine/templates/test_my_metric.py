"""Check my_metric. Run it with pytest, or as a script: python test_my_metric.py"""

from pathlib import Path

import torch

from lop_engine.testing import check_file, described

FILE = Path(__file__).with_name("my_metric.py")


def test_it_keeps_the_rules() -> None:
    """Check the rules of lop's own metrics: a RuleError says which one is broken, where, and what to do.

    It returns one number for each seed, which depends on that seed alone, and it does not change its arguments.
    """
    check_file(FILE)


def test_it_does_what_it_promises() -> None:
    """Test what is special about your metric: known values, with two seeds."""
    my_metric = described(FILE).code
    params = {"fc1.weight": torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]]), "fc1.bias": torch.tensor([[-0.5], [0.05]])}
    torch.testing.assert_close(my_metric(params), torch.tensor([2 / 3, 0.0]))


if __name__ == "__main__":
    test_it_keeps_the_rules()
    test_it_does_what_it_promises()
    print("my_metric: passed")
