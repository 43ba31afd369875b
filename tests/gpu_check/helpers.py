"""A helper shared by the tests of the check."""

import torch

from bench.gpu.engine import Setup
from bench.gpu.results import Results

SMALL = Setup(torch.device("cpu"), small=True)


def verdicts(results: Results) -> set[str]:
    return {line.verdict for line in results.lines}
