"""Check my_network. Run it with pytest, or as a script: python test_my_network.py"""

from pathlib import Path

import torch

from lop_engine.testing import check_file, trained

FILE = Path(__file__).with_name("my_network.py")


def test_it_keeps_the_rules() -> None:
    """Check the rules of lop's own networks, with several methods: a RuleError says which is broken, and what to do.

    Shapes are as described, seeds do not mix, a run resumes to the same bits, the loss falls.
    """
    check_file(FILE, units=6)


def test_it_does_what_it_promises() -> None:
    """Test what is special about your network: with weights of 0 the outputs are the first inputs."""
    learner = trained(FILE, units=6)
    zeros = {name: torch.zeros_like(weight) for name, weight in learner.params.items()}
    inputs = torch.rand(2, 5, *learner.problem.input_shape)
    outputs = learner.forward(zeros, inputs).outputs_SBO
    torch.testing.assert_close(outputs, inputs.flatten(2)[:, :, :2] / 10)


if __name__ == "__main__":
    test_it_keeps_the_rules()
    test_it_does_what_it_promises()
    print("my_network: passed")
