"""Time the online problems, which train on one example a step, at the widths of their papers."""

from collections.abc import Iterator
from typing import Any

from bench.gpu.engine import PRECISIONS, Precision, Setup, in_words
from bench.gpu.results import Report
from bench.gpu.timing import milliseconds
from lop_engine.bench.measure import PLAIN_EXAMPLES, online_spec
from lop_engine.bench.online import plain_loop
from lop_engine.experiment.spec import Spec
from lop_engine.problems import build_problem
from lop_engine.training.learner import Learner
from lop_engine.training.loop import part_trainer

METHODS = ("bp", "cbp")
NUM_EXAMPLES = 200

#: By folder of cfg: runs in a stack (the first is timed in every precision), and keys of a short task.
PROBLEMS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "mnist": ((30, 1, 10), {"change_after": NUM_EXAMPLES, "num_features": 2000}),
    "scr": ((1000, 100), {"flip_after": NUM_EXAMPLES}),
}


def online(setup: Setup, report: Report) -> None:
    """Report microseconds of a step of the stack, and the speed of all runs over that of a plain loop on this device.

    A step includes its share of the loop's work on the host, which queues each step by itself.
    """
    plain_us: dict[tuple[str, str], float] = {}
    for problem, method, precision, num_runs in _cases(setup):
        spec = _spec(setup, problem, method)
        if (problem, method) not in plain_us:
            plain_us[problem, method] = 1000 * milliseconds(plain_loop(spec, setup.device), setup) / PLAIN_EXAMPLES
            report.row("online", problem=problem, method=method, way="plain", runs=1, step_us=plain_us[problem, method])
        name = f"{problem}, {method}, {precision}, {in_words(num_runs)}"
        with report.attempt(name, "can be timed"):
            step_us = _step_us(setup, spec.with_changes(precision=precision), num_runs)
            speed = num_runs * plain_us[problem, method] / step_us
            cells = {"runs": num_runs, "precision": precision, "step_us": step_us, "times_plain": speed}
            report.row("online", problem=problem, method=method, way="lop", **cells)
        setup.free()


def _cases(setup: Setup) -> Iterator[tuple[str, str, Precision, int]]:
    for problem, (stacks, _) in PROBLEMS.items():
        for method in setup.pick(METHODS, METHODS[:1]):
            largest, *others = setup.pick(stacks, (2, 1))
            yield from ((problem, method, precision, largest) for precision in PRECISIONS)
            yield from ((problem, method, PRECISIONS[0], num_runs) for num_runs in others)


def _spec(setup: Setup, problem: str, method: str) -> Spec:
    sizes = PROBLEMS[problem][1] | setup.pick({}, {"num_features": 20})
    return online_spec(problem, method).with_changes(**sizes)


def _step_us(setup: Setup, spec: Spec, num_runs: int) -> float:
    """Return the mean time of a step of a stack, in a task of `NUM_EXAMPLES` steps."""
    seeds = list(range(num_runs))
    learner = Learner(spec, seeds, setup.device)
    task = next(build_problem(spec).tasks(seeds, setup.device))
    train_part = part_trainer(learner, setup.device)

    def train() -> None:
        learner.start_epoch(0, 0)
        train_part(task, None)

    return 1000 * milliseconds(train, setup) / NUM_EXAMPLES
