"""Which keys of an experiment file have an effect there, and whose those are that have none."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from lop_engine.errors import ConfigError
from lop_engine.experiment import reference
from lop_engine.experiment.components import Component
from lop_engine.experiment.fields import is_list
from lop_engine.experiment.mistakes import shown, unknown_keys
from lop_engine.experiment.spec import Experiment, InvalidSpecError, agents_of, choose, is_known, owners_of

#: Keys that choose a component; `problem` is the same for a whole file.
CHOICES = ("agent", "network", "opt")


def check_keys(raw: Mapping[str, Any], where: str, source: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """Return the keys that have an effect, for at least one of the agents, networks and optimisers that a file names.

    A key of the reference that has none is dropped from a file like the reference's, with a note.

    Args:
        where: the experiment file.
        source: by key, the file or option that it comes from.
    Raises:
        ConfigError: unknown keys, or keys of components that the file does not use, all in one message; or a value that
            no key can hold.
    """
    own: set[str] = set()
    for values in _choices(raw):
        try:
            own |= own_keys(values)
        except InvalidSpecError as error:
            raise ConfigError(f"{source.get(error.key, where)}: {error}") from None
    _refuse_unknown(raw, source, own)
    foreign = [key for key in raw if key not in own]
    dropped = [key for key in foreign if _may_drop(key, raw, source)]
    refused = [key for key in foreign if key not in dropped]
    if refused:
        places: dict[str, list[str]] = {}
        for key in refused:
            places.setdefault(source[key], []).append(_whose(key, raw))
        raise ConfigError("; ".join(f"{place}: {'; '.join(texts)}" for place, texts in places.items()))
    for key in dropped:
        if _has_value(raw[key]):
            notes.append(f"{source[key]}: {_whose(key, raw)}; it has no effect here")
    kept = {key: value for key, value in raw.items() if key in own}
    _check_values(kept, source)
    return kept


def own_keys(values: Mapping[str, Any]) -> set[str]:
    """The keys that have an effect with the components that `values` choose.

    An agent that may mean several methods (bp with weight decay is l2) has the keys of all of them.
    """
    parts = choose(values)
    keys = set(parts.owners())
    for method in agents_of(values["agent"]):
        keys |= method.fields.model_fields.keys()
    return keys


def _choices(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The values of a file, once for every combination of the components that it sweeps over."""
    swept = {key: raw[key] for key in CHOICES if isinstance(raw.get(key), list) and raw[key]}
    for chosen in product(*swept.values()):
        yield {**raw, **dict(zip(swept, chosen, strict=True))}


def _refuse_unknown(raw: Mapping[str, Any], source: Mapping[str, str], own: set[str]) -> None:
    unknown: dict[str, dict[str, Any]] = {}
    for key, value in raw.items():
        if not is_known(key):
            unknown.setdefault(source[key], {})[key] = value
    if unknown:
        parts = [f"{where}: {unknown_keys(keys, own)}" for where, keys in unknown.items()]
        raise ConfigError("; ".join(parts))


def _may_drop(key: str, raw: Mapping[str, Any], source: Mapping[str, str]) -> bool:
    """Whether a key without effect is one that files like the reference's hold all the same."""
    if key not in reference.KEYS or source[key] == "--set":
        return False
    return reference.is_reference_file(raw) or not _has_value(raw[key])


def _has_value(value: Any) -> bool:
    """Whether a value says anything: 0 and false are what a key without effect has in the reference's files."""
    return bool(value)


def _whose(key: str, raw: Mapping[str, Any]) -> str:
    """``redo_period belongs to agent redo; this file's agent is cbp``"""
    owners = owners_of(key)
    names = " and ".join(f"{one.key} {one.name}" for one in owners) or "methods that use an optimiser"
    kinds = list(dict.fromkeys(one.key for one in owners)) or ["agent"]
    theirs = " and ".join(f"this file's {kind} is {_named(raw, kind)}" for kind in kinds)
    return f"{key} belongs to {names}; {theirs}"


def _named(raw: Mapping[str, Any], kind: str) -> str:
    value = raw.get(kind)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if value is not None:
        return str(value)
    parts = choose(next(_choices(raw)))
    chosen: dict[str, Component | None] = {
        "network": parts.network,
        "opt": parts.optimizer,
        "problem": parts.problem,
        "agent": parts.method,
    }
    one = chosen[kind]
    return one.name if one else "its own"


def _check_values(raw: Mapping[str, Any], source: Mapping[str, str]) -> None:
    """Refuse values that no key can hold."""
    for key, value in raw.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict | list) and not (isinstance(one, list) and takes_list(key)):
                reason = "should be one value, or one list to sweep over"
                raise ConfigError(f'{source[key]}: key "{key}": {shown(one)}: {reason}')
            if isinstance(one, str) and not one.isprintable():
                raise ConfigError(f'{source[key]}: key "{key}": {shown(one)}: holds a character that cannot be printed')


def takes_list(key: str) -> bool:
    """Whether the value of a key is itself a list, which is not a sweep."""
    if key in Experiment.model_fields:
        return is_list(Experiment, key)
    return any(is_list(one.fields, key) for one in owners_of(key))
