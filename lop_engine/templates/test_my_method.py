"""Check my_method. Run it with pytest, or as a script: python test_my_method.py"""

from pathlib import Path

from lop_engine.testing import check_file, trained

FILE = Path(__file__).with_name("my_method.py")


def test_it_keeps_the_rules() -> None:
    """Check the rules of lop's own methods: a RuleError says which one is broken, where, and what to do.

    The state is complete, a run resumes to the same bits, seeds do not mix, shapes are static, the loss falls. Give the
    keys values with which the method acts within a few steps.
    """
    check_file(FILE, pull=0.1, noise=0.001)


def test_it_does_what_it_promises() -> None:
    """Test what is special about your method: with a pull of 1 the weights are their running mean."""
    learner = trained(FILE, pull=1.0, noise=0.0)
    for name, mean in learner.method.state().items():
        assert (learner.params[name] - mean).abs().max() < 1e-6, name


if __name__ == "__main__":
    test_it_keeps_the_rules()
    test_it_does_what_it_promises()
    print("my_method: passed")
