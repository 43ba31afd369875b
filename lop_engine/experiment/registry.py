"""All components by name: those of lop, those of installed packages, and those that were read from run.json files.

A package adds components by entry points of the groups ``lop.problems``, ``lop.networks``, ``lop.methods`` and
``lop.metrics``, whose objects are descriptions. They are loaded only by commands that train, and by workers. Viewers
know them from run.json (`described`, `remember`).
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from lop_engine.errors import ConfigError, did_you_mean
from lop_engine.experiment.components import Component, Method, Metric, Network, Optimizer, Problem
from lop_engine.experiment.methods import METHODS as _METHODS
from lop_engine.experiment.metrics import METRICS as _METRICS
from lop_engine.experiment.networks import NETWORKS as _NETWORKS
from lop_engine.experiment.optimizers import OPTIMIZERS as _OPTIMIZERS
from lop_engine.experiment.problems import PROBLEMS as _PROBLEMS

C = TypeVar("C", bound=Component)


class Registry(Mapping[str, C], Generic[C]):
    """The components of one kind that can be trained with, by name."""

    def __init__(self, kind: str, built_in: tuple[C, ...], group: str = "") -> None:
        self.kind, self._group = kind, group
        self._known = {one.name: one for one in built_in}
        self._built_in = tuple(self._known)

    def __getitem__(self, name: str) -> C:
        if name not in self._known:
            self._load()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def holds(self, component: Component) -> bool:
        """Whether this very description is known in this process."""
        return self._known.get(component.name) is component

    def add(self, component: C) -> None:
        """Make a component known in this process, in place of one of the same name."""
        self._known[component.name] = component

    @property
    def built_in(self) -> tuple[str, ...]:
        return self._built_in

    def all(self) -> tuple[C, ...]:
        """Every component, those of installed packages included."""
        self._load()
        return tuple(self._known.values())

    def find(self, name: Any) -> C | None:
        """The component of that name; None if there is none."""
        if isinstance(name, str) and name not in self._known:
            self._load()
        return self._known.get(name) if isinstance(name, str) else None

    def _load(self) -> None:
        for point in _entry_points(self._group) if self._group else ():
            if point.name in self._known:
                continue
            try:
                found = point.load()
            except Exception as error:
                raise ConfigError(f"{self.kind} {point.name} of {point.value} cannot be loaded: {error}") from error
            if getattr(found, "name", None) != point.name:
                raise ConfigError(f"{self.kind} {point.name}: {point.value} is not a description of that name")
            self._known[point.name] = found


@cache
def _entry_points(group: str) -> tuple[Any, ...]:
    return tuple(entry_points(group=group))


PROBLEMS: Registry[Problem] = Registry("problem", _PROBLEMS, "lop.problems")
NETWORKS: Registry[Network] = Registry("network", _NETWORKS, "lop.networks")
METHODS: Registry[Method] = Registry("method", _METHODS, "lop.methods")
METRICS: Registry[Metric] = Registry("metric", _METRICS, "lop.metrics")
OPTIMIZERS: Registry[Optimizer] = Registry("opt", _OPTIMIZERS)

REGISTRIES: Mapping[str, Registry[Any]] = {
    "problem": PROBLEMS,
    "network": NETWORKS,
    "agent": METHODS,
    "opt": OPTIMIZERS,
    "metrics": METRICS,
}
"""By the key that chooses a component of the kind."""


def known_kind(component: Component) -> Registry[Any]:
    """The registry of a component's kind."""
    return REGISTRIES[component.key]


def known(registry: Registry[C], name: str, what: str) -> C:
    """The component of that name. Raises ConfigError that lists the names there are; `what` begins the message."""
    found = registry.find(name)
    if found is None:
        names = [one.name for one in registry.all()]
        raise ConfigError(
            f'{what}: no {registry.kind} "{name}"{did_you_mean(name, names)} (there are {", ".join(names)})'
        )
    return found
