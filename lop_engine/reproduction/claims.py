"""What the paper and the demo claim of Continual ImageNet, as data; `verdicts` compares runs with it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lop_engine.analysis import PAPER_BIN, Window
from lop_engine.experiment.spec import Spec
from lop_engine.reproduction.levels import BINS, PUBLISHED, unlike, unlike_paper


@dataclass(frozen=True)
class Part:
    """The mean of a protocol's metric of each seed of a setting, over a window of tasks."""

    setting: str
    """Of the protocol's `settings`."""
    window: Window


@dataclass(frozen=True)
class Claim:
    """That the mean of `of`, or of `of` - `minus` seed by seed, is about `level`, or between `low` and `high`."""

    text: str
    of: Part
    minus: Part | None = None
    level: float | None = None
    """0 .. 1."""
    low: float = -math.inf
    high: float = math.inf
    of_each_seed: bool = False
    """Whether it is said of every seed by itself, not of the mean: where two seeds must do."""


@dataclass(frozen=True)
class Protocol:
    """Tasks, images and network that runs share, and what is claimed of some settings."""

    name: str
    unlike: Callable[[Spec], list[str]]
    """How a run is not of this protocol, a phrase a key."""
    settings: Mapping[str, Mapping[str, Any]]
    """By name, what a spec must have besides; keys and properties of `Spec`."""
    claims: tuple[Claim, ...]
    least_seeds: int
    """With fewer than these no claim is judged."""
    metric: str = "test_accuracy"
    """What the claims are about; a proportion 0 .. 1."""


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

#: What all runs of cfg/demo share.
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

#: Of the methods that train the ConvNet.
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
