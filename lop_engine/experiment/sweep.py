"""Reads experiment files: JSON objects whose lists are swept. Parses seeds and key=value arguments."""

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lop_engine.errors import ConfigError, did_you_mean, why
from lop_engine.experiment.fields import MAX_INT
from lop_engine.experiment.mistakes import kind_of, shown
from lop_engine.files import read_small

#: Limit on runs: a larger number is a typing error, refused before it exhausts the memory.
MAX_RUNS = 100_000
_MOST_BYTES = 2**24


def read_config(path: Path) -> dict[str, Any]:
    """Read one JSON object, without its comments. Raises ConfigError."""
    try:
        text = read_small(path, _MOST_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.json")]) if path.parent.is_dir() else ""
        raise ConfigError(f"{path}: no such file{near}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {why(error)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: cannot be read: not UTF-8 text") from None
    if not text.strip():
        raise ConfigError(f"{path}: is empty; an experiment file is one JSON object")
    try:
        raw = json.loads(text, object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply to be an experiment file") from None
    except ValueError:
        raise ConfigError(f"{path}: holds a number with thousands of digits") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: an experiment file must be one JSON object, not {kind_of(raw)}")
    return without_comments(raw)


def without_comments(raw: dict[str, Any]) -> dict[str, Any]:
    """Remove every key that begins with ``_``."""
    return {key: value for key, value in raw.items() if not _is_comment(key)}


@dataclass(frozen=True)
class Setting:
    """One point of a sweep."""

    values: dict[str, Any]
    """All keys of the file, each with its value in this setting."""
    names: Mapping[str, str]
    """Directory name of each swept key's value."""
    positions: Mapping[str, int]
    """Position of each swept key's value in the file's list."""

    def name(self, keys: Container[str], where: str) -> str:
        """Return ``step_size=0.01,width=2`` with the swept keys in `keys`. Raises ConfigError if it is too long."""
        named = {key: name for key, name in self.names.items() if key in keys}
        name = ",".join(f"{key}={value}" for key, value in named.items()) or "default"
        if len(name.encode()) > 255:
            raise ConfigError(f"{where}: the sweep over {', '.join(named)} makes names too long for a directory")
        return name


def expand_sweep(
    raw: Mapping[str, Any], where: str, source: Mapping[str, str], takes_list: Callable[[str], bool]
) -> list[Setting]:
    """Return the Cartesian product of all list values, in file order.

    Args:
        where: the place that errors name, unless `source` has the key's.
        takes_list: whether the value of a key is itself a list.
    Raises:
        ConfigError: a list is empty, or there are too many settings.
    """
    swept = [
        key
        for key, value in raw.items()
        if isinstance(value, list) and not (takes_list(key) and not any(isinstance(one, list) for one in value))
    ]
    for key in swept:
        if not raw[key]:
            raise ConfigError(
                f'{source.get(key, where)}: key "{key}" sweeps over an empty list; give at least one value'
            )
    if math.prod(len(raw[key]) for key in swept) > MAX_RUNS:
        raise ConfigError(f"{where}: the sweep over {', '.join(swept)} makes more than {MAX_RUNS} settings")
    names = {key: _names(raw[key]) for key in swept}
    return [
        Setting(
            {**raw, **{key: raw[key][at] for key, at in positions.items()}},
            {key: names[key][at] for key, at in positions.items()},
            positions,
        )
        for choice in itertools.product(*(range(len(raw[key])) for key in swept))
        for positions in (dict(zip(swept, choice, strict=True)),)
    ]


def twice(key: str, one: Any, other: Any, values: Sequence[Any]) -> str:
    """Return the error text for a sweep over `key` with two equivalent values."""
    if _plain(one) == _plain(other):
        return f'key "{key}" sweeps over {_plain(one)} twice: {shown(values)}'
    return f'key "{key}" sweeps over {shown(one)} and {shown(other)}, which mean the same: {shown(values)}'


def _names(values: Sequence[Any]) -> list[str]:
    """Return directory names for the values of a sweep; values that differ as JSON get different names.

    If two values would share a name, part of a hash is appended to one: ``a_b`` and ``a_b-3b5d5c``. Numbers, and
    strings that are valid names as they are, keep their plain names.
    """
    rivals: dict[str, dict[str, Any]] = {}
    for value in values:
        rivals.setdefault(_plain(value), {})[_key(value)] = value
    for digits in (6, 64):
        names = [_name(value, rivals[_plain(value)], digits) for value in values]
        if len(set(names)) == sum(map(len, rivals.values())):
            break
    return names


def _name(value: Any, rivals: dict[str, Any], digits: int) -> str:
    """Return the plain name for the first of its `rivals` by `_rank`; the others get digits of their hash."""
    best = min(rivals, key=lambda key: _rank(rivals[key]))
    if len(rivals) == 1 or (best == _key(value) and _rank(value) < 2):
        return _plain(value)
    return f"{_plain(value)}-{hashlib.sha256(json.dumps(value).encode()).hexdigest()[:digits]}"


def _rank(value: Any) -> int:
    """Return 0 for a number, 1 for a string that is a valid name as it is, 2 for any other string."""
    return 0 if not isinstance(value, str) else 1 if _plain(value) == value else 2


def _key(value: Any) -> str:
    """Return a key that is equal for equal numbers or equal strings; numbers, strings and booleans never share one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _plain(value)
    return json.dumps(value)


def _plain(value: Any) -> str:
    """Return a value using only the characters allowed in a directory name."""
    if isinstance(value, float) and math.isfinite(value):
        value = int(value) if value.is_integer() and abs(value) < MAX_INT else value
    return re.sub(r"[^\w.+-]", "_", str(value))


def _is_comment(key: str) -> bool:
    return key.startswith("_")


def _no_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    for key, times in Counter(key for key, _ in pairs).items():
        if times > 1 and not _is_comment(key):
            raise ConfigError(f"duplicate key {shown(key)}")
    return dict(pairs)


def parse_seeds(text: str) -> list[int]:
    """Parse ``30`` (seeds 0-29), ``0,3,5-9`` or ``7,`` (only seed 7). Raises ConfigError."""
    problem = f'--seeds "{text}": write a number of seeds (30), or a list such as 0,3,5-9'
    too_many = f'--seeds "{text}": more than {MAX_RUNS} seeds'
    if re.fullmatch(r"[0-9]{1,7}", text) and int(text) > 0:
        if int(text) > MAX_RUNS:
            raise ConfigError(too_many)
        return list(range(int(text)))
    seeds: set[int] = set()
    for part in text.rstrip(",").split(","):
        match = re.fullmatch(r"\s*([0-9]{1,7})(?:-([0-9]{1,7}))?\s*", part)
        if not match or ("," not in text and "-" not in text):
            raise ConfigError(problem)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f'--seeds "{text}": {part.strip()} runs backwards')
        if len(seeds) + last - first >= MAX_RUNS:
            raise ConfigError(too_many)
        seeds.update(range(first, last + 1))
    return sorted(seeds)


def describe_seeds(seeds: Iterable[int]) -> str:
    """Write seeds in the form of `parse_seeds`: ``0,3,5-9``; ``7,`` is only seed 7."""
    spans: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    text = ",".join(f"{first}-{last}" if first < last else str(first) for first, last in spans)
    return f"{text}," if text.isdigit() else text


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """Parse ``key=value`` pairs; a value is JSON, or else a string. Raises ConfigError, also for a key given twice."""
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f'--set "{assignment}": write key=value, for example --set num_tasks=50')
        if key in overrides:
            raise ConfigError(f'--set gives key "{key}" twice; give it once')
        try:
            overrides[key] = json.loads(text)
        except (ValueError, RecursionError):
            overrides[key] = text
    return overrides
