"""Specs in run.json files, of this and other versions, and with components that are not installed here."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lop_engine.errors import ConfigError
from lop_engine.experiment.parts import method_name
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS, PROBLEMS, Registry
from lop_engine.experiment.spec import Spec

_ABSENT = object()

#: Keys that are independent of the method: they may differ between two methods that are compared.
_LEARNER_KEYS = frozenset({"agent", "opt", "step_size", "weight_decay"})
_NONE = frozenset[str]()
_CHOICES = ("problem", "network", "agent", "opt")


def stored_spec(values: Mapping[str, Any]) -> Spec | None:
    """Return the spec in a run.json; None if it is of another version, or names components that are not loaded."""
    return _stored_spec(json.dumps(values, sort_keys=True, default=str))


@lru_cache(maxsize=4096)
def _stored_spec(text: str) -> Spec | None:
    values = json.loads(text)
    # Viewers never load the code of installed packages, which a lookup of an invalid name would do.
    if any(not isinstance(values.get(key, ""), str) for key in _CHOICES) or foreign_components(values):
        return None
    try:
        return Spec(**values)
    except (ConfigError, TypeError):
        return None


def foreign_components(values: Mapping[str, Any]) -> list[str]:
    """Return the components in a run.json that are not loaded here: ``problem toy_regression``."""
    metrics = values.get("metrics", [])
    named: list[tuple[str, Registry[Any], Any]] = [
        ("problem", PROBLEMS, values.get("problem")),
        ("network", NETWORKS, values.get("network")),
        ("agent", METHODS, method_name(values)),
        *(("metric", METRICS, name) for name in (metrics if isinstance(metrics, list) else [metrics])),
    ]
    return [f"{key} {name}" for key, registry, name in named if isinstance(name, str) and name not in registry]


def canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keys with values, including defaults and without keys that have no effect, if the spec is valid."""
    spec = stored_spec(values)
    return spec.to_dict() if spec else dict(values)


def not_default(values: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a spec in a run.json whose values are not the defaults.

    Args:
        components: the entry ``components`` of run.json, see `lookup.for_run_json`.
    """
    spec, described = stored_spec(values), components.get("defaults")
    known = spec.to_dict() if spec else values
    defaults: Mapping[str, Any] = spec.defaults if spec else described if isinstance(described, dict) else {}
    return {key: value for key, value in known.items() if defaults.get(key, _ABSENT) != value}


def own_keys_of_methods(*runs: tuple[Mapping[str, Any], Mapping[str, Any]]) -> frozenset[str]:
    """Return the keys in which runs may differ because their methods do.

    Those of learners, of the runs' methods and optimisers, and of all networks if one belongs to its method.

    Args:
        runs: for each, the spec and the entry ``components`` of its run.json, see `lookup.for_run_json`.
    """
    own = frozenset[str]().union(*(_own_keys(*run)[0] for run in runs))
    return own.union(*(_own_keys(*run)[1] for run in runs)) if "network" in own else own


def _own_keys(values: Mapping[str, Any], components: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the keys of a run's method, and those of its network."""
    spec = stored_spec(values)
    if spec:
        return method_keys(spec), frozenset(spec.parts.network.fields.model_fields)
    method, network = (components.get(name) for name in ("method_keys", "network_keys"))
    method, network = (frozenset(map(str, keys)) if isinstance(keys, list) else _NONE for keys in (method, network))
    return _LEARNER_KEYS | method, network


def method_keys(spec: Spec) -> frozenset[str]:
    """Return the keys of learners, of a spec's method and optimiser, and of a network that belongs to the method."""
    parts = spec.parts
    keys = set(_LEARNER_KEYS) | parts.method.fields.model_fields.keys()
    if parts.optimizer:
        keys |= parts.optimizer.fields.model_fields.keys()
    if parts.method.network:
        keys |= {"network"} | parts.network.fields.model_fields.keys()
    return frozenset(keys)
