"""Decides which keys of an experiment file have an effect, and which component owns the others."""

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from lop_engine.errors import ConfigError
from lop_engine.experiment import reference
from lop_engine.experiment.fields import is_list
from lop_engine.experiment.mistakes import shown, unknown_keys
from lop_engine.experiment.parts import Experiment, InvalidSpecError, Parts, agents_of, choose, is_known, owners_of
from lop_engine.experiment.registry import REGISTRIES

#: Keys that select a component; `problem` is the same for a whole file.
CHOICES = ("agent", "network", "opt")


def check_keys(raw: Mapping[str, Any], where: str, source: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """Return the keys that have an effect for at least one of the agents, networks and optimisers in a file.

    A key of the reference without effect is dropped from a file like the reference's, with a note.

    Args:
        where: the experiment file.
        source: by key, its file or option.
    Raises:
        ConfigError: unknown keys, or keys of components that the file does not use, all in one message; or a value that
            is invalid for every key.
    """
    if isinstance(raw.get("problem"), list):
        raise ConfigError(
            f'{source["problem"]}: key "problem": {shown(raw["problem"])}: should be one problem; '
            "write a file for each problem"
        )
    for key in CHOICES:
        if raw.get(key) == []:
            raise ConfigError(f'{source[key]}: key "{key}" sweeps over an empty list; give at least one value')
    own: set[str] = set()
    parts: list[Parts] = []
    for values in _choices(raw):
        try:
            parts.append(choose(values))
            own |= own_keys(values)
        except InvalidSpecError as error:
            raise ConfigError(f"{source.get(error.key, where)}: {error}") from None
    _refuse_unknown(raw, source, own)
    foreign = [key for key in raw if key not in own]
    dropped = [key for key in foreign if _may_drop(key, raw, source)]
    places: dict[str, list[str]] = {}
    for key in foreign:
        if key not in dropped:
            places.setdefault(source[key], []).append(key)
    if places:
        raise ConfigError("; ".join(f"{place}: {_whose(keys, raw, parts)}" for place, keys in places.items()))
    without_effect = [key for key in dropped if _has_value(raw[key])]
    if without_effect:
        notes.append(f"{where}: left out: {_whose(without_effect, raw, parts)}")
    used = {key: value for key, value in raw.items() if key in own}
    _check_values(used, source)
    return used


def own_keys(values: Mapping[str, Any]) -> set[str]:
    """Return the keys that have an effect with the components that `values` select.

    An agent that may mean several methods (bp with weight decay is l2) has the keys of all of them.
    """
    parts = choose(values)
    keys = set(parts.owners())
    for method in agents_of(values["agent"]):
        keys |= method.fields.model_fields.keys()
    return keys


def keys_of_setting(values: Mapping[str, Any]) -> set[str]:
    """Return a setting's keys that have an effect, and those of its agent's other methods with a neutral value.

    With agent bp, perturb_scale 0 means that there is no noise: a sweep over it names that setting too.
    """
    keys = set(choose(values).owners())
    for method in agents_of(values["agent"]):
        for key, field in method.fields.model_fields.items():
            value = values.get(key)
            if not value or (isinstance(value, str) and value == field.default):
                keys.add(key)
    return keys


def check_effect(
    raw: Mapping[str, Any], methods: Mapping[str, Container[str]], source: Mapping[str, str], notes: list[str]
) -> None:
    """Refuse a key that has no effect in any setting, or note it in a file like the reference's.

    This depends on the method that an agent means: agent cbp has a decay_rate, but not with net_type 2.

    Args:
        methods: by method that the file trains, the keys that have an effect with it.
        source: by key, its file or option.
    Raises:
        ConfigError: naming key, value and methods.
    """
    for key, value in raw.items():
        if any(key in keys for keys in methods.values()):
            continue
        what = f"has no effect with method {' or '.join(methods)}"
        if not _may_drop(key, raw, source):
            raise ConfigError(f'{source[key]}: key "{key}": {shown(value)}: {what}; leave it out')
        notes.append(f"{source[key]}: left out: {key} {shown(value)}, which {what}")


def _choices(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the values of a file, once for every combination of the components that it sweeps over."""
    swept = {key: raw[key] for key in CHOICES if isinstance(raw.get(key), list)}
    for chosen in product(*swept.values()):
        yield {**raw, **dict(zip(swept, chosen, strict=True))}


def _refuse_unknown(raw: Mapping[str, Any], source: Mapping[str, str], own: set[str]) -> None:
    unknown: dict[str, dict[str, Any]] = {}
    for key, value in raw.items():
        if not is_known(key):
            unknown.setdefault(source[key], {})[key] = value
    if unknown:
        components = (one for registry in REGISTRIES.values() for one in registry.values())
        known = dict.fromkeys(key for one in components for key in one.fields.model_fields)
        foreign = {key: _owners(key) for key in known if key not in own}
        texts = [f"{where}: {unknown_keys(keys, own, foreign)}" for where, keys in unknown.items()]
        raise ConfigError("; ".join(texts))


def _may_drop(key: str, raw: Mapping[str, Any], source: Mapping[str, str]) -> bool:
    """Whether files like the reference's contain a key even where it has no effect."""
    if key not in reference.KEYS or source[key].startswith("--"):
        return False
    return reference.is_reference_file(raw) or not _has_value(raw[key])


def _has_value(value: Any) -> bool:
    """Whether a value is meaningful: the reference's files have 0 and false for keys without effect."""
    return bool(value)


def _whose(keys: Sequence[str], raw: Mapping[str, Any], parts: Sequence[Parts]) -> str:
    """Return ``redo_scores belongs to agent redo; this file's agent is cbp``.

    Args:
        parts: the components of each of the file's combinations.
    """
    owners = "; ".join(f"{key} belongs to {_owners(key)}" for key in keys)
    kinds = dict.fromkeys(one.key for key in keys for one in owners_of(key)) or {"opt": None}
    return f"{owners}; this file's {' and '.join(_chosen(kind, raw, parts) for kind in kinds)}"


def _owners(key: str) -> str:
    """Return ``agent cbp and agent cbp2``: the components that have the key."""
    return " and ".join(f"{one.key} {one.name}" for one in owners_of(key)) or "agents that use an optimiser"


def _chosen(kind: str, raw: Mapping[str, Any], parts: Sequence[Parts]) -> str:
    """Return the components of one kind that a file selects: ``opt is sgd``, or ``agent is bp, cbp`` of a sweep."""
    agents = raw["agent"] if isinstance(raw["agent"], list) else [raw["agent"]]
    names = agents if kind == "agent" else [one.name for chosen in parts for one in chosen if one.key == kind]
    if not names:
        return f"agent is {', '.join(agents)}, which has its own update"
    return f"{kind} is {', '.join(dict.fromkeys(names))}"


def _check_values(raw: Mapping[str, Any], source: Mapping[str, str]) -> None:
    """Refuse values that are invalid for every key."""
    for key, value in raw.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict | list) and not (isinstance(one, list) and takes_list(key)):
                reason = "should be one value, or one list to sweep over"
                raise ConfigError(f'{source[key]}: key "{key}": {shown(one)}: {reason}')
            if isinstance(one, str) and not one.isprintable():
                raise ConfigError(f'{source[key]}: key "{key}": {shown(one)}: holds a character that cannot be printed')


def takes_list(key: str) -> bool:
    """Whether the value of a key is itself a list, and not a sweep."""
    if key in Experiment.model_fields:
        return is_list(Experiment, key)
    return any(is_list(one.fields, key) for one in owners_of(key))
