"""The test accuracies of Dohare et al. (Nature 2024) on Continual ImageNet, to check your runs against.

Means over 30 seeds and bins of 50 tasks, after each task's last epoch; in percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lop_engine.experiment.spec import Spec
from lop_engine.experiment.stored import stored_spec

#: Where the levels lie: by name of the bin, its middle, tasks counted from 1.
BINS = {"tasks 1-50": 25.5, "about task 2000": 1975.5, "about task 5000": 4975.5}

#: What all published runs share.
_PROTOCOL = {
    "problem": "continual_imagenet",
    "opt": "sgd",
    "momentum": 0.9,
    "num_classes": 2,
    "num_showings": 250,
    "mini_batch_size": 100,
    "new_heads": True,
}

#: Of the methods that train the paper's network.
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
    """What a spec must have to be it; keys and properties of `Spec`."""
    accuracies: tuple[float | None, ...]
    """In the bins of `BINS`, in percent; None where none is published."""


def _published(
    name: str, step_size: float, accuracies: tuple[float | None, ...], decay: float = 0, noise: float = 0
) -> Published:
    method = name.split()[0]
    learner: dict[str, Any] = {"method": method, "step_size": step_size, "weight_decay": decay}
    if noise:  # a key of its method: other methods have none
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


@dataclass(frozen=True)
class Level:
    """A published test accuracy."""

    task: float
    """Middle of its bin, tasks counted from 1."""
    accuracy: float
    """0 .. 1."""
    label: str
    """``Dohare et al. 2024, tasks 1-50: 84.3 %``"""


def published_levels(spec: Mapping[str, Any]) -> tuple[Level, ...]:
    """The published levels within a run's tasks, by task; none unless the run is a published one in all that matters.

    Args:
        spec: as run.json holds it.
    """
    run = stored_spec(spec)
    if run is None or unlike_paper(run):
        return ()
    for published in PUBLISHED:
        if not unlike(run, published.learner):
            return tuple(
                Level(task, accuracy / 100, f"Dohare et al. 2024, {name}: {accuracy:g} %")
                for (name, task), accuracy in zip(BINS.items(), published.accuracies, strict=True)
                if accuracy is not None and task <= run.num_tasks
            )
    return ()


def published_baseline(spec: Mapping[str, Any]) -> Level | None:
    """The linear baseline's level, the same over all tasks, if a run's tasks and images are the paper's."""
    linear = {"agent": "linear", "network": "linear", "step_size": 0.01, "weight_decay": 0.0}
    return next(iter(published_levels({**spec, **linear})), None)


def unlike_paper(run: Spec) -> list[str]:
    """How a run's tasks, images and network are not the paper's, a phrase a key; empty where they are.

    A split of 0/0 is the data set's, the paper's if it can.
    """
    found = unlike(run, _PROTOCOL)
    if found[:1] and found[0].startswith("problem "):
        return found[:1]
    if run.network != "linear":
        found += unlike(run, _NETWORK)
    if run.dataset == "synthetic":
        found.append("dataset is synthetic, not ImageNet")
    if (run.train_images, run.test_images) not in ((600, 100), (0, 0)):
        found.append(f"train_images and test_images are {run.train_images} and {run.test_images}, not 600 and 100")
    return found


def unlike(run: Spec, values: Mapping[str, Any]) -> list[str]:
    """A phrase for each of `values` that a run does not have: ``num_showings is 100, not 250``, ``it has no opt``."""
    found = {key: getattr(run, key) for key in values if hasattr(run, key)}
    return [
        f"{key} is {found[key]}, not {value}" if key in found else f"it has no {key}"
        for key, value in values.items()
        if key not in found or found[key] != value
    ]
