"""Registers all components by name: those of lop, of installed packages, and of users' files.

A package adds components by entry points of the groups ``lop.problems``, ``lop.networks``, ``lop.methods`` and
``lop.metrics``, whose objects are descriptions. Only workers, and the child process that describes them, execute the
packages (`execute_installed`); other commands ask that child. Viewers use the descriptions in run.json
(`lookup`).
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from lop_engine.errors import ConfigError, instead
from lop_engine.experiment.child import ask_installed, component_from
from lop_engine.experiment.components import Component, Method, Metric, Network, Optimizer, Problem
from lop_engine.experiment.methods import METHODS as _METHODS
from lop_engine.experiment.metrics import METRICS as _METRICS
from lop_engine.experiment.networks import NETWORKS as _NETWORKS
from lop_engine.experiment.optimizers import OPTIMIZERS as _OPTIMIZERS
from lop_engine.experiment.problems import PROBLEMS as _PROBLEMS

C = TypeVar("C", bound=Component)


class Registry(Mapping[str, C], Generic[C]):
    """The components of one kind that can be trained, by name."""

    def __init__(self, key: str, kind: str, built_in: tuple[C, ...], group: str = "") -> None:
        self._key, self.kind, self._group = key, kind, group
        self.by_name = {one.name: one for one in built_in}
        self._built_in = tuple(self.by_name)

    def __getitem__(self, name: str) -> C:
        if name not in self.by_name:
            self._load([name])
        return self.by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def holds(self, component: Component) -> bool:
        """Whether exactly this description is registered in this process."""
        return self.by_name.get(component.name) is component

    def add(self, component: C) -> None:
        """Register a component in this process, replacing one of the same name."""
        self.by_name[component.name] = component

    @property
    def built_in(self) -> tuple[str, ...]:
        return self._built_in

    def all(self, problems: list[str] | None = None) -> tuple[C, ...]:
        """Return every component, including those of installed packages.

        Args:
            problems: receives a line for each component that cannot be loaded; without it, the first one raises.
        """
        for name in self.installed:
            try:
                self._load([name])
            except ConfigError as error:
                if problems is None:
                    raise
                problems.append(str(error))
        return tuple(self.by_name.values())

    def find(self, name: Any) -> C | None:
        """Return the component of that name, or None. Raises ConfigError if its package cannot be loaded."""
        if isinstance(name, str) and name not in self.by_name:
            self._load([name])
        return self.by_name.get(name) if isinstance(name, str) else None

    @property
    def installed(self) -> tuple[str, ...]:
        """Return the names of components of installed packages; lop's own names take precedence."""
        return tuple(one.name for one in installed_entry_points(self._group) if one.name not in self._built_in)

    @property
    def names(self) -> list[str]:
        """Return all names, including those of packages that have not been loaded."""
        return list(dict.fromkeys([*self.by_name, *self.installed]))

    def place_of(self, name: str) -> str:
        """Return the origin of an installed package's component: ``package toys (toys.descriptions:TOY_DECAY)``."""
        for point in installed_entry_points(self._group):
            if point.name == name:
                package = f"package {point.dist.name}" if point.dist else "a package"
                return f"{package} ({point.value})"
        return ""

    def _load(self, names: list[str]) -> None:
        """Load components of installed packages, if they have any of those names. Raises ConfigError."""
        for name in names:
            if name in self.by_name or name not in self.installed:
                continue
            self.by_name[name] = self._execute(name) if _executes else self._ask(name)

    def _execute(self, name: str) -> C:
        [point, *_] = [one for one in installed_entry_points(self._group) if one.name == name]
        where = f"{self.kind} {name} of {self.place_of(name)}"
        try:
            component: C = point.load()
        except BaseException as error:  # a package may also exit
            raise ConfigError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
        if getattr(component, "name", None) != name or not isinstance(component, Component):
            raise ConfigError(f"{where} is not a description of that name")
        return component

    def _ask(self, name: str) -> C:
        [answer] = ask_installed([(self._key, name)])
        if "error" in answer:
            raise ConfigError(answer["error"])
        try:
            [described] = answer["components"]
            component: Any = component_from(described)
        except (ConfigError, TypeError, ValueError, KeyError) as error:
            raise ConfigError(f"{self.kind} {name} of {self.place_of(name)}: {error}") from None
        return component


_executes = False


def execute_installed() -> None:
    """Let this process, a worker or the one that describes, execute installed packages."""
    global _executes
    _executes = True


@cache
def installed_entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group)) if group else ()


PROBLEMS: Registry[Problem] = Registry("problem", "problem", _PROBLEMS, "lop.problems")
NETWORKS: Registry[Network] = Registry("network", "network", _NETWORKS, "lop.networks")
METHODS: Registry[Method] = Registry("agent", "method", _METHODS, "lop.methods")
METRICS: Registry[Metric] = Registry("metrics", "metric", _METRICS, "lop.metrics")
OPTIMIZERS: Registry[Optimizer] = Registry("opt", "opt", _OPTIMIZERS)

REGISTRIES: Mapping[str, Registry[Any]] = {
    "problem": PROBLEMS,
    "network": NETWORKS,
    "agent": METHODS,
    "opt": OPTIMIZERS,
    "metrics": METRICS,
}
"""Registries by the key that selects a component of the kind."""


def is_own(component: Component) -> bool:
    """Whether a component is a user's own: from a file, or from an installed package."""
    return component.name not in known_kind(component).built_in


def known_kind(component: Component) -> Registry[Any]:
    """Return the registry of a component's kind."""
    return REGISTRIES[component.key]


def known(registry: Registry[C], name: str, what: str) -> C:
    """Return the component of that name. Raises ConfigError that lists the names; `what` begins the message."""
    component = registry.find(name)
    if component is None:
        names = registry.names
        raise ConfigError(f'{what}: no {registry.kind} "{name}"{instead(name, names)}')
    return component
