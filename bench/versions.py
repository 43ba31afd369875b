"""``python -m bench.versions CHECKOUT``: compare the training step of this checkout with that of another one.

Processes of both alternate after every two steps and measure processor time, so that disturbances of the machine affect
both. Three pairs of processes are used, because the memory layout of a process changes its speed by a percent or two.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lop_engine.bench.measure import METHODS
from lop_engine.launch import worker_environment

HERE = Path(__file__).parents[1]
PAIRS, STEPS = 3, 2
SETTINGS: dict[str, dict[str, object]] = {
    **METHODS,
    "adam": {"agent": "bp", "opt": "adam", "step_size": 1e-3, "momentum": None},
}

CHILD = """
import itertools, json, sys, time
import torch
from lop_engine.device import prepare_device
from lop_engine.experiment.spec import Spec
from lop_engine.training.learner import Learner

settings, runs = json.loads(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
prepare_device(torch.device("cpu"))
learner = Learner(Spec(**settings), list(range(runs)), torch.device("cpu"))
images = torch.randn(runs, 100, 32, 32, 3).permute(0, 1, 4, 2, 3)
labels = torch.randint(0, 2, (runs, 100))
learner.start_epoch(0, 0)
for line in itertools.chain(["5"], iter(sys.stdin.readline, "")):
    began = time.process_time()
    for _ in range(int(line)):
        learner.step(images, labels)
    print(time.process_time() - began, flush=True)
"""


class Child:
    """A process that trains with the lop of a checkout."""

    def __init__(self, checkout: Path, method: str, runs: int, ends: ExitStack) -> None:
        base = {"step_size": 0.01, "momentum": 0.9, "num_tasks": 5000, "num_showings": 250, "dataset": "synthetic"}
        settings = base | {"train_images": 600, "test_images": 100, "normalisation": "scaled"} | SETTINGS[method]
        given_values = {key: value for key, value in settings.items() if value is not None}
        command = [sys.executable, "-P", "-c", CHILD, json.dumps(given_values), str(runs)]
        environment = worker_environment(1) | {"PYTHONPATH": str(checkout)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | environment)
        ends.callback(self._process.kill)
        self._answer()

    def seconds(self) -> float:
        """Return the processor time of a turn in seconds."""
        assert self._process.stdin
        self._process.stdin.write(f"{STEPS}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> float:
        assert self._process.stdout
        return float(self._process.stdout.readline())


def compare(other: Path, method: str, runs: int, turns: int) -> tuple[float, float, list[float]]:
    """Return how much faster this checkout is: the median ratio, its lower 95 % limit, and the median of each pair."""
    ratios: list[list[float]] = []
    with ExitStack() as ends:
        for _ in range(PAIRS):
            pair = [Child(checkout, method, runs, ends) for checkout in (other, HERE)]
            ratios.append([])
            for turn in range(turns):
                order = pair if turn % 2 else pair[::-1]
                seconds = {child: child.seconds() for child in order}
                ratios[-1].append(seconds[pair[0]] / seconds[pair[1]])
    everything = sorted(ratio for of_pair in ratios for ratio in of_pair)
    lower = everything[max(0, int(len(everything) / 2 - 0.98 * math.sqrt(len(everything))))]
    return statistics.median(everything), lower, [statistics.median(of_pair) for of_pair in ratios]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.versions", description=__doc__)
    parser.add_argument("checkout", type=Path, help="such as: git worktree add --detach /tmp/before COMMIT")
    parser.add_argument("--methods", nargs="+", choices=SETTINGS, default=["bp", "cbp", "snp", "adam"])
    parser.add_argument("--runs", type=int, default=1, help="in the stack")
    parser.add_argument("--turns", type=int, default=60)
    args = parser.parse_args(words)
    if not (args.checkout / "lop_engine").is_dir():
        parser.error(f"{args.checkout} is not a checkout of lop; git worktree add --detach DIR COMMIT makes one")
    table = Table(title=f"speed of the training step over {args.checkout}, stack of {args.runs}, one core")
    for heading in ("method", "median", "lower 95 %", "by pair of processes"):
        table.add_column(heading)
    for method in args.methods:
        median, lower, pairs = compare(args.checkout.resolve(), method, args.runs, args.turns)
        table.add_row(method, f"{median:.3f}", f"{lower:.3f}", "  ".join(f"{one:.3f}" for one in pairs))
    Console().print(table)


if __name__ == "__main__":
    main()
