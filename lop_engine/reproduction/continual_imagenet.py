"""Claims of the paper and the demo about Continual ImageNet.

The paper's test accuracies are means over 30 seeds and bins of 50 tasks, after each task's last epoch; in percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lop_engine.analysis import PAPER_BIN, Window
from lop_engine.experiment.spec import Spec
from lop_engine.reproduction.claims import Claim, Part, Protocol, unlike

#: Bins of the levels: name, and middle with tasks counted from 1.
BINS = {"tasks 1-50": 25.5, "about task 2000": 1975.5, "about task 5000": 4975.5}

#: Keys that all published runs share.
_PROTOCOL = {
    "problem": "continual_imagenet",
    "opt": "sgd",
    "momentum": 0.9,
    "num_classes": 2,
    "num_showings": 250,
    "mini_batch_size": 100,
    "new_heads": True,
}

#: Keys of methods that train the paper's network.
_NETWORK = {"network": "conv_net", "width": 1.0, "activation": "relu", "layer_norm": False}

_CBP = {
    "replacement_rate": 3e-4,
    "util_type": "adaptable_contribution",
    "maturity_threshold": 100,
    "decay_rate": 0.99,
    "accrual": "all",
}


@dataclass(frozen=True)
class Published:
    """A published setting."""

    name: str
    learner: Mapping[str, Any]
    """What a spec must have to match; keys and properties of `Spec`."""
    accuracies: tuple[float | None, ...]
    """In the bins of `BINS`, in percent; None if not published."""


def _published(
    name: str, step_size: float, accuracies: tuple[float | None, ...], decay: float = 0, noise: float = 0
) -> Published:
    method = name.split()[0]
    learner: dict[str, Any] = {"method": method, "step_size": step_size, "weight_decay": decay}
    if noise:  # a key of its method: other methods do not have it
        learner["perturb_scale"] = noise
    return Published(name, {**learner, **(_CBP if method == "cbp" else {})}, accuracies)


PUBLISHED = (
    _published("bp 0.01", 0.01, (84.3, 74.0, None)),
    _published("bp 0.001", 0.001, (83.3, 78.7, None)),
    _published("bp 0.0001", 0.0001, (None, 78.4, None)),
    _published("linear", 0.01, (77.1, 77.1, None)),
    _published("l2", 0.03, (85.2, 88.0, 89.15), 3e-6),
    _published("snp", 0.01, (84.4, 87.9, 89.2), 1e-5, 1e-5),
    _published("cbp", 0.01, (84.5, 88.8, 90.45)),
)


def unlike_paper(run: Spec) -> list[str]:
    """Return how a run's tasks, images and network differ from the paper's, a phrase per key.

    A split of 0/0 means the data set's split, which is the paper's if possible.
    """
    differences = unlike(run, _PROTOCOL)
    if run.problem != _PROTOCOL["problem"]:
        return differences
    if run.network != "linear":
        differences += unlike(run, _NETWORK)
    if run.dataset == "synthetic":
        differences.append("dataset is synthetic, not ImageNet")
    if (run.train_images, run.test_images) not in ((600, 100), (0, 0)):
        differences.append(
            f"train_images and test_images are {run.train_images} and {run.test_images}, not 600 and 100"
        )
    return differences


def _window(middle: float) -> Window:
    return Window(round(middle - (PAPER_BIN - 1) / 2), round(middle + (PAPER_BIN - 1) / 2))


_FIRST, _AT_2000, _AT_5000 = map(_window, BINS.values())


def _levels() -> tuple[Claim, ...]:
    return tuple(
        Claim(f"{one.name} has {accuracy:g} %, {name}", Part(one.name, _window(task)), level=round(accuracy / 100, 6))
        for one in PUBLISHED
        for (name, task), accuracy in zip(BINS.items(), one.accuracies, strict=True)
        if accuracy is not None
    )


def _loses(setting: str) -> Claim:
    text = f"{setting} loses: less at task 2000 than in its first bin"
    return Claim(text, Part(setting, _AT_2000), Part(setting, _FIRST), high=0)


def _keeps(setting: str, name: str, window: Window) -> Claim:
    text = f"{setting} keeps: at task {name} not 0.5 points below its first bin"
    return Claim(text, Part(setting, window), Part(setting, _FIRST), low=-0.005)


def _above(setting: str, other: str, name: str, window: Window) -> Claim:
    return Claim(f"{setting} is above {other} at task {name}", Part(setting, window), Part(other, window), low=0)


PAPER = Protocol(
    "Dohare et al. 2024",
    unlike_paper,
    {one.name: one.learner for one in PUBLISHED},
    (
        *_levels(),
        Claim("bp 0.0001 begins below 70 %", Part("bp 0.0001", _FIRST), high=0.7),
        _loses("bp 0.01"),
        _loses("bp 0.001"),
        _above("linear", "bp 0.01", "2000", _AT_2000),
        _keeps("cbp", "2000", _AT_2000),
        *(_keeps(name, "5000", _AT_5000) for name in ("l2", "snp", "cbp")),
        *(_above("cbp", f"bp {step_size}", "2000", _AT_2000) for step_size in ("0.01", "0.001", "0.0001")),
        *(_above("cbp", name, "5000", _AT_5000) for name in ("l2", "snp")),
    ),
    least_seeds=5,
)

#: Keys that all runs of cfg/demo share.
_DEMO = {
    "problem": "continual_imagenet",
    "opt": "sgd",
    "step_size": 0.045,
    "momentum": 0.9,
    "dataset": "synthetic",
    "dataset_classes": 60,
    "dataset_seed": 0,
    "train_images": 200,
    "test_images": 100,
    "num_tasks": 150,
    "num_classes": 2,
    "num_showings": 6,
    "mini_batch_size": 20,
    "new_heads": True,
}

#: Keys of methods that train the ConvNet.
_DEMO_NETWORK = {"network": "conv_net", "width": 0.5, "activation": "relu", "layer_norm": False}

_DEMO_CBP = {
    "method": "cbp",
    "weight_decay": 0,
    "replacement_rate": 1e-3,
    "util_type": "adaptable_contribution",
    "maturity_threshold": 100,
    "decay_rate": 0.99,
    "accrual": "all",
}


def _unlike_demo(run: Spec) -> list[str]:
    return unlike(run, _DEMO if run.network == "linear" else _DEMO | _DEMO_NETWORK)


_BEGIN, _END = Window(1, 15), Window(136, 150)

DEMO = Protocol(
    "the demo",
    _unlike_demo,
    {"bp": {"method": "bp", "weight_decay": 0}, "cbp": _DEMO_CBP},
    (
        Claim(
            "bp loses more than 5 points from the first tenth to the last",
            Part("bp", _END),
            Part("bp", _BEGIN),
            high=-0.05,
            of_each_seed=True,
        ),
        Claim(
            "cbp keeps: no 10 points lost from the first tenth to the last",
            Part("cbp", _END),
            Part("cbp", _BEGIN),
            low=-0.1,
            of_each_seed=True,
        ),
        Claim("cbp is above bp in the last tenth", Part("cbp", _END), Part("bp", _END), low=0, of_each_seed=True),
    ),
    least_seeds=2,
)

PROTOCOLS = (PAPER, DEMO)
