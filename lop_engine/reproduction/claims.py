"""Types of published results: a module for each problem states them as data, and `verdicts` compares runs with them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from lop_engine.analysis import Window
from lop_engine.experiment import lookup
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.stored import stored_spec


@dataclass(frozen=True)
class Part:
    """The mean of a protocol's metric over a window of tasks, for each seed of a setting."""

    setting: str
    """One of the protocol's `settings`."""
    window: Window


@dataclass(frozen=True)
class Claim:
    """A claim that the mean of `of`, or of `of` - `minus` by seed, is about `level`, or between `low` and `high`."""

    text: str
    of: Part
    minus: Part | None = None
    level: float | None = None
    """In the metric's units, like `low` and `high`."""
    low: float = -math.inf
    high: float = math.inf
    of_each_seed: bool = False
    """Require the claim to hold for every seed, not for the mean (used when there are only two seeds)."""


@dataclass(frozen=True)
class Margins:
    """Largest deviation of a mean from a published level, in the metric's units; docs/statistics.md has the rule."""

    num_seeds: int
    """Number of seeds behind the published levels."""
    reading_error: float
    """Error of levels that were read off figures."""
    least: float
    """Least margin, however many seeds there are."""
    widest: float
    """If the margin exceeds this, the estimate is too uncertain to confirm anything."""


#: Margins of accuracies. Other images, machines and class orders may shift a level by half a point.
OF_ACCURACIES = Margins(num_seeds=30, reading_error=0.001, least=0.005, widest=0.02)


@dataclass(frozen=True)
class Protocol:
    """Tasks, data and network that runs share, and claims about some settings."""

    name: str
    unlike: Callable[[Spec], list[str]]
    """Returns how a run differs from this protocol, a phrase per key."""
    settings: Mapping[str, Mapping[str, Any]]
    """By name, what a spec must also have; keys and properties of `Spec`."""
    claims: tuple[Claim, ...]
    least_seeds: int
    """Claims are only judged with at least this many seeds."""
    metric: str = "test_accuracy"
    """The metric of the claims."""
    margins: Margins = OF_ACCURACIES


@dataclass(frozen=True)
class Level:
    """A published mean of a problem's headline metric."""

    task: float
    """Middle of its bin, tasks counted from 1."""
    value: float
    """In the metric's units."""


@cache
def protocols_of(problem: str) -> tuple[Protocol, ...]:
    """Return the protocols of a problem's published results; none if its description names none."""
    module = lookup.problem(problem).claims
    return tuple(import_module(module).PROTOCOLS) if module else ()


def published_levels(spec: Mapping[str, Any]) -> tuple[Level, ...]:
    """Return the published levels within a run's tasks, by task; none unless the run matches a published one.

    Args:
        spec: the spec in run.json.
    """
    run = stored_spec(spec)
    if run is None:
        return ()
    followed = [(one, settings_of(run, one)) for one in protocols_of(run.problem) if not one.unlike(run)]
    levels = {
        claim.of.window.middle: claim.level
        for protocol, settings in followed
        for claim in protocol.claims
        if claim.level is not None and claim.of.setting in settings
    }
    return tuple(Level(task, value) for task, value in sorted(levels.items()) if task <= run.num_tasks)


def settings_of(run: Spec, protocol: Protocol) -> list[str]:
    """Return the names of the protocol's settings that a run matches: one, or none."""
    return [name for name, learner in protocol.settings.items() if not unlike(run, learner)]


def published_baseline(spec: Mapping[str, Any]) -> float | None:
    """Return the linear baseline's mean published level, if a run's tasks and data match a published protocol."""
    levels = published_levels({**spec, "agent": "linear", "network": "linear", "step_size": 0.01, "weight_decay": 0.0})
    return sum(level.value for level in levels) / len(levels) if levels else None


def unlike(run: Spec, values: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each of `values` that a run lacks: ``num_showings is 100, not 250``, ``it has no opt``.

    If the problem differs, only that is returned.
    """
    of_run = {key: getattr(run, key) for key in values if hasattr(run, key)}
    phrases = {
        key: f"{key} is {of_run[key]}, not {value}" if key in of_run else f"it has no {key}"
        for key, value in values.items()
        if key not in of_run or of_run[key] != value
    }
    return [phrases["problem"]] if "problem" in phrases else list(phrases.values())
