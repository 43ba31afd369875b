"""What is typed on the command line beside an experiment file: seeds, and values of keys."""

import json
import re
from collections.abc import Iterable
from typing import Any

from lop_engine.errors import ConfigError
from lop_engine.experiment.sweep import MAX_RUNS


def parse_seeds(text: str) -> list[int]:
    """Read ``30`` (seeds 0-29), ``0,3,5-9`` or ``7,`` (seed 7 alone). Raises ConfigError."""
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
    """Write seeds as `parse_seeds` reads them: ``0,3,5-9``; ``7,`` is seed 7 alone."""
    spans: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    text = ",".join(f"{first}-{last}" if first < last else str(first) for first, last in spans)
    return f"{text}," if text.isdigit() else text


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs; a value is JSON, or else a string. Raises ConfigError, also for a key given twice."""
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
