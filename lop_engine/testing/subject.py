"""The subject of a check: a component, in a small experiment that uses it."""

import inspect
import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lop_engine.errors import ConfigError, RuleError
from lop_engine.experiment.code import import_file, load, own_descriptions
from lop_engine.experiment.components import OF_NETWORKS, Component, Method, Metric, Network, Problem
from lop_engine.experiment.registry import METHODS, NETWORKS, known_kind
from lop_engine.experiment.spec import Spec, validate

SMALL: dict[str, Any] = {
    "step_size": 0.01,
    "momentum": 0.9,
    "num_tasks": 3,
    "num_showings": 2,
    "mini_batch_size": 5,
    "curvature_images": 4,
    "dataset": "synthetic",
    "dataset_classes": 6,
    "train_images": 15,
    "test_images": 4,
    "normalisation": "scaled",
    "width": 0.125,
    "num_features": 8,
    "num_hidden_layers": 2,
}
"""Settings for a few steps of a second or less; keys that a component does not use are ignored."""

REGRESSION: dict[str, Any] = {
    "problem": "slowly_changing_regression",
    "flip_after": 40,
    "num_showings": 1,
    "mini_batch_size": 1,
}
"""Settings for metrics of errors."""

ACTING: dict[str, dict[str, Any]] = {
    "bp": {},
    "cbp": {"replacement_rate": 0.05, "maturity_threshold": 2},
    "redo": {"redo_period": 2, "redo_threshold": 0.1},
}
"""Methods of lop for testing a network with hidden units, with settings under which they act at once."""


@dataclass(frozen=True)
class Subject:
    """A component, and an experiment whose other components follow the rules."""

    component: Component
    spec: Spec

    @property
    def file(self) -> Path | None:
        """Return the file of its code."""
        if self.component.modules:
            return Path(self.component.modules[0].path)
        try:
            file = inspect.getsourcefile(load(self.component))
        except TypeError:
            return None
        return Path(file) if file else None

    def broken(self, rule: str, advice: str, error: BaseException | None = None) -> RuleError:
        """Return the error to raise if the component breaks a rule.

        Args:
            rule: what it does wrong, as the rest of a sentence: ``changes the shape of ...``.
            error: an error from the component's file; its line is named.
        """
        code = load(self.component)
        named = getattr(code, "__name__", self.component.name)
        line = line_in(error, self.file) if error else ""
        return RuleError(f"{self.file}: {named}: {rule}{line}; {advice}")


def line_in(error: BaseException, file: Path | None) -> str:
    """Return the innermost line of a file in a traceback: `` (line 31, in after_update: x.item())``, or ""."""
    trace, place = error.__traceback__, ""
    while trace:
        code = trace.tb_frame.f_code
        if file and Path(code.co_filename) == file:
            text = linecache.getline(code.co_filename, trace.tb_lineno).strip()
            place = f" (line {trace.tb_lineno}, in {code.co_name}: {text})"
        trace = trace.tb_next
    return place


def subjects_of(component: Component, **settings: Any) -> Iterator[Subject]:
    """Return a component in small experiments: a method with networks of lop, a network with methods of lop.

    Args:
        settings: keys of the experiment, such as the component's own. A method should act within a few steps.
    Raises:
        ConfigError: the settings are invalid.
    """
    known_kind(component).add(component)
    values = {key: value for key, value in SMALL.items() if key not in _defaults(component)}
    for chosen in _choices(component, settings):
        yield Subject(component, validate(values | chosen | settings, f"settings of {component.name}"))


def subjects_in(path: Path, **settings: Any) -> Iterator[Subject]:
    """Return `subjects_of` every component in a file. Raises ConfigError."""
    for one in described_in(path):
        yield from subjects_of(one, **settings)


def described_in(path: Path) -> tuple[Component, ...]:
    """Register and return the components in a file. Raises ConfigError if there are none."""
    components = _described(path.resolve())
    if not components:
        raise ConfigError(f"{path}: describes no component; docs/own-components.md shows how")
    for one in components:
        if one.name in known_kind(one).built_in:
            raise ConfigError(f"{path}: {one.key} {one.name}: lop has one of that name; choose another name")
        known_kind(one).add(one)
    return components


@cache
def _described(path: Path) -> tuple[Component, ...]:
    return tuple(own_descriptions(import_file(path)))


def _defaults(component: Component) -> dict[str, Any]:
    return dict(component.defaults) if isinstance(component, Problem) else {}


def _choices(component: Component, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the other components of the experiments in which a component is checked."""
    if isinstance(component, Method):
        networks = [settings.get("network", component.network)]
        for network in networks if networks[0] else [name for name in ("mlp", "conv_net") if _fits(component, name)]:
            yield {"agent": component.name, "network": network} | _metrics(settings)
    elif isinstance(component, Network):
        methods = [name for name in ACTING if _fits(METHODS[name], component.name)]
        for method in [settings["agent"]] if "agent" in settings else methods:
            yield {"agent": method, "network": component.name} | ACTING.get(method, {}) | _metrics(settings)
    elif isinstance(component, Problem):
        yield {"agent": "bp", "problem": component.name}
    elif isinstance(component, Metric):
        if "problem" in settings:
            others = {}
        elif "squared error" in component.needs:
            others = REGRESSION
        else:
            others = {"network": "conv_net" if component.layer else "mlp"}
        yield {"agent": "bp", "metrics": [component.name]} | others
    else:
        yield {"agent": "bp", "opt": component.name, "network": "mlp"}


def _metrics(settings: dict[str, Any]) -> dict[str, Any]:
    """Return quick metrics of lop's own problem."""
    return {} if "problem" in settings else {"metrics": ["train_loss", "test_accuracy", "weight_magnitude"]}


def _fits(method: Method, network: str) -> bool:
    """Whether a method can train a network."""
    return method.network in ("", network) and method.needs & OF_NETWORKS <= NETWORKS[network].provides
