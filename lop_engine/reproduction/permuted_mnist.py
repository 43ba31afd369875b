"""Results in the paper's figures of Online Permuted MNIST.

Levels were read off the figures of 30 runs, to about 0.06 points; those of the first ten tasks are too uncertain.
"""

from lop_engine.analysis import Window
from lop_engine.experiment.spec import Spec
from lop_engine.reproduction.claims import Claim, Part, Protocol, unlike

_PROTOCOL = {
    "problem": "permuted_mnist",
    "change_after": 60_000,
    "mini_batch_size": 1,
    "network": "mlp",
    "num_hidden_layers": 3,
    "activation": "relu",
    "layer_norm": False,
    "opt": "sgd",
    "momentum": 0,
}

#: By setting: step size, units per layer, and the online accuracy in percent by task, counted from 1.
LEVELS: dict[str, tuple[float, int, dict[int, float]]] = {
    "bp 0.003": (0.003, 2000, {11: 95.17, 101: 94.67, 401: 94.24, 800: 93.69}),
    "bp 0.001": (0.001, 2000, {11: 94.54, 101: 94.71, 501: 94.21, 800: 93.97}),
    "bp 0.01": (0.01, 2000, {11: 94.48, 101: 93.51, 401: 92.0, 800: 90.24}),
    "bp 0.003, width 100": (0.003, 100, {11: 92.24, 41: 90.13, 101: 88.15}),
    "bp 0.003, width 1000": (0.003, 1000, {11: 94.79, 41: 94.37, 101: 93.97}),
    "bp 0.003, width 10000": (0.003, 10000, {11: 95.66, 41: 95.98, 101: 95.84}),
}


def _unlike_paper(run: Spec) -> list[str]:
    differences = unlike(run, _PROTOCOL)
    is_generated = getattr(run, "dataset", "") == "synthetic" and run.problem == _PROTOCOL["problem"]
    return differences + (["dataset is synthetic, not MNIST"] if is_generated else [])


def _at(task: int) -> Window:
    return Window(task, task)


def _claims() -> tuple[Claim, ...]:
    levels = tuple(
        Claim(f"{name} has {accuracy:g} %, task {task}", Part(name, _at(task)), level=round(accuracy / 100, 6))
        for name, (_, _, accuracies) in LEVELS.items()
        for task, accuracy in accuracies.items()
    )
    loses = tuple(
        Claim(f"{name} loses: less at task {last} than at task 11", Part(name, _at(last)), Part(name, _at(11)), high=0)
        for name, last in (("bp 0.003", 800), ("bp 0.01", 800), ("bp 0.003, width 100", 101))
    )
    return levels + loses


PAPER = Protocol(
    "Dohare et al. 2024, Online Permuted MNIST",
    _unlike_paper,
    {
        name: {"method": "bp", "step_size": step_size, "num_features": width, "weight_decay": 0}
        for name, (step_size, width, _) in LEVELS.items()
    },
    _claims(),
    least_seeds=3,
    metric="online_accuracy",
)

PROTOCOLS = (PAPER,)
