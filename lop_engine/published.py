"""The test accuracies of Dohare et al. (Nature 2024) on Continual ImageNet, to hold one's own runs against.

Means over 30 seeds and bins of 50 tasks, after each task's last epoch; in percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lop_engine.spec import Spec

#: Where the levels lie: by name of the bin, its middle, tasks counted from 1.
_BINS = {"tasks 1-50": 25.5, "about task 2000": 1975.5, "about task 5000": 4975.5}

#: What all published runs share.
_PROTOCOL = {
    "opt": "sgd",
    "momentum": 0.9,
    "num_classes": 2,
    "num_showings": 250,
    "mini_batch_size": 100,
    "new_heads": True,
    "width": 1.0,
}

_CBP = {
    "replacement_rate": 3e-4,
    "util_type": "adaptable_contribution",
    "maturity_threshold": 100,
    "decay_rate": 0.99,
    "accrual": "all",
}

#: A row a published setting: method, step size, weight decay, perturbation, what else, and the levels of `_BINS`.
_PUBLISHED: tuple[tuple[str, float, float, float, Mapping[str, Any], tuple[float | None, ...]], ...] = (
    ("bp", 0.01, 0, 0, {}, (84.3, 74.0, None)),
    ("bp", 0.001, 0, 0, {}, (83.3, 78.7, None)),
    ("bp", 0.0001, 0, 0, {}, (None, 78.4, None)),
    ("linear", 0.01, 0, 0, {}, (77.1, 77.1, None)),
    ("l2", 0.03, 3e-6, 0, {}, (85.2, 88.0, 89.15)),
    ("snp", 0.01, 1e-5, 1e-5, {}, (84.4, 87.9, 89.2)),
    ("cbp", 0.01, 0, 0, _CBP, (84.5, 88.8, 90.45)),
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
    try:
        run = Spec(**spec)
    except (ValidationError, TypeError):
        return ()
    if not _is_protocol(run):
        return ()
    for method, step_size, weight_decay, perturb_scale, rest, accuracies in _PUBLISHED:
        learner = {
            "method": method,
            "step_size": step_size,
            "weight_decay": weight_decay,
            "perturb_scale": perturb_scale,
        }
        if _has(run, learner | dict(rest)):
            return tuple(
                Level(task, accuracy / 100, f"Dohare et al. 2024, {name}: {accuracy:g} %")
                for (name, task), accuracy in zip(_BINS.items(), accuracies, strict=True)
                if accuracy is not None and task <= run.num_tasks
            )
    return ()


def _is_protocol(run: Spec) -> bool:
    """Whether tasks, images and network are the paper's; a split of 0/0 is the data set's, the paper's if it can."""
    split = (run.train_images, run.test_images)
    return _has(run, _PROTOCOL) and run.dataset != "synthetic" and split in ((600, 100), (0, 0))


def _has(run: Spec, values: Mapping[str, Any]) -> bool:
    return all(getattr(run, key) == value for key, value in values.items())
