"""The settings of a sweep as points of a grid: the keys that vary, and neighbours."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lop_engine.analysis.groups import Group
from lop_engine.experiment.parts import BOOKKEEPING_KEYS, EXTENT_KEYS
from lop_engine.experiment.stored import canonical

Point = Mapping[str, Any]
"""Values of one setting, by key that varies; a key without effect is missing."""


@dataclass(frozen=True)
class Neighbour:
    """A setting that differs from another only in one key, by one step of the grid."""

    key: str
    value: Any
    group: Group


@dataclass(frozen=True)
class Edge:
    """The chosen value of a key is the smallest or largest one tried."""

    key: str
    value: Any
    is_largest: bool


def points(groups: Sequence[Group], with_extent: bool = False) -> list[Point]:
    """Return each group's values of the keys in which they differ, in the order of the specs.

    Args:
        with_extent: include the keys for a run's length and measurements.
    """
    left_out = BOOKKEEPING_KEYS if with_extent else BOOKKEEPING_KEYS | EXTENT_KEYS
    specs = [canonical(group.example.spec) if group.example else {} for group in groups]
    keys = [key for key in dict.fromkeys(key for spec in specs for key in spec) if key not in left_out]
    missing = object()
    varied = [key for key in keys if any(spec.get(key, missing) != specs[0].get(key, missing) for spec in specs)]
    return [{key: spec[key] for key in varied if key in spec} for spec in specs]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def along(groups: Sequence[Group], keys: Collection[str], through: Group) -> list[tuple[Point, Group]]:
    """Return the settings that equal `through` in all keys that vary except `keys`, each with its point.

    Args:
        groups: the settings of one method, `through` among them; those that lack one of `keys` are left out.
    """
    grid = points(groups)
    place = next(place for place, group in enumerate(groups) if group is through)

    def others(point: Point) -> dict[str, Any]:
        return {key: value for key, value in point.items() if key not in keys}

    return [
        (point, group)
        for point, group in zip(grid, groups, strict=True)
        if others(point) == others(grid[place]) and all(key in point for key in keys)
    ]


def in_order(values: Collection[Any]) -> list[Any]:
    """Sort values of a key without repetitions: numbers by size, then others by name."""
    numbers = sorted({value for value in values if is_number(value)})
    return [*numbers, *sorted({str(value) for value in values if not is_number(value)})]


def neighbours(groups: Sequence[Group], chosen: int) -> list[Neighbour]:
    """Return the settings one step below and above `chosen`, an index of `groups`, along each numeric key."""
    grid = points(groups)
    neighbours_of_chosen = []
    for key, value in grid[chosen].items():
        if not is_number(value):
            continue
        others = {k: v for k, v in grid[chosen].items() if k != key}
        line = [
            (point[key], group)
            for point, group in zip(grid, groups, strict=True)
            if is_number(point.get(key)) and {k: v for k, v in point.items() if k != key} == others
        ]
        below = max((one for one in line if one[0] < value), default=None, key=lambda one: one[0])
        above = min((one for one in line if one[0] > value), default=None, key=lambda one: one[0])
        neighbours_of_chosen += [Neighbour(key, *one) for one in (below, above) if one]
    return neighbours_of_chosen


def edges(groups: Sequence[Group], chosen: int) -> list[Edge]:
    """Return the keys in which `chosen`, an index of `groups`, has the smallest or largest of several values.

    A smallest value of 0 does not count, because no smaller one could be tried.
    """
    grid = points(groups)
    edges_of_chosen = []
    for key, value in grid[chosen].items():
        tried = {point[key] for point in grid if is_number(point.get(key))}
        if not is_number(value) or len(tried) < 2:
            continue
        if value == max(tried):
            edges_of_chosen.append(Edge(key, value, True))
        elif value == min(tried) and value != 0:
            edges_of_chosen.append(Edge(key, value, False))
    return edges_of_chosen
