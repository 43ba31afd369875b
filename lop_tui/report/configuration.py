"""The configuration of a report's runs, their hosts and versions, and how to run them again."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from lop_engine.analysis import Group
from lop_engine.errors import StoreError
from lop_engine.experiment.lookup import with_own_files
from lop_engine.experiment.parts import BOOKKEEPING_KEYS
from lop_engine.experiment.stored import canonical
from lop_engine.experiment.sweep import describe_seeds
from lop_engine.runs.code import stored_sources
from lop_tui.words.console import as_argument


@dataclass(frozen=True)
class Configuration:
    """The keys of all groups' specs."""

    differing: dict[str, list[str]]
    """Keys that differ, with the value of each group, in order."""
    common: dict[str, str]
    """Keys that all groups share, with their value."""


@dataclass(frozen=True)
class Recipe:
    """A file and a command that train the same runs again."""

    file_name: str
    content: str
    command: str


@dataclass(frozen=True)
class Place:
    """Host, device and versions of some of the runs."""

    num_runs: int
    host: str
    device: str
    versions: str


def configuration_of(groups: Sequence[Group]) -> Configuration:
    """Separate keys that differ between groups from shared ones; keys that change no number are left out."""
    specs = [_spec_of(group) for group in groups]
    keys = dict.fromkeys(key for spec in specs for key in spec)
    shown = {key: [_shown(spec[key]) if key in spec else "-" for spec in specs] for key in keys}
    differing = {key: values for key, values in shown.items() if len(set(values)) > 1}
    return Configuration(differing, {key: values[0] for key, values in shown.items() if key not in differing})


def recipes(groups: Sequence[Group]) -> list[Recipe]:
    """Return experiment files and commands; several for an experiment whose settings are not a complete sweep."""
    recipes_of_groups = []
    for experiment in dict.fromkeys(group.experiment for group in groups):
        members = [group for group in groups if group.experiment == experiment]
        seeds = describe_seeds({run.seed for group in members for run in group.runs})
        specs = [with_own_files(_spec_of(group), group.example.components) for group in members if group.example]
        swept = _sweep(specs)
        if swept is None:
            files = {f"{experiment} {group.setting}.json": spec for group, spec in zip(members, specs, strict=True)}
        else:  # a setting's name has its keys in the order of the file
            in_order = {key: swept[key] for key in sorted(swept, key=members[0].setting.find)}
            files = {f"{experiment}.json": in_order | {key: specs[0][key] for key in specs[0] if key not in swept}}
        for name, content in files.items():
            command = f"lop run {as_argument(Path(name))} --seeds {seeds}"
            recipes_of_groups.append(Recipe(name, json.dumps(content, indent=2), command))
    return recipes_of_groups


def own_sources(groups: Sequence[Group]) -> dict[str, str]:
    """Return the sources of the groups' own components by name, from the copies in their runs."""
    sources: dict[str, str] = {}
    for group in groups:
        sources = (stored_sources(group.example.dir) if group.example else {}) | sources
    return sources


def places(groups: Sequence[Group]) -> list[Place]:
    """Return hosts, devices and versions, those with the most runs first."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for run in (run for group in groups for run in group.runs):
        about: dict[str, Any] = {}
        with suppress(StoreError):
            about = run.dir.read_config()
        versions = about.get("versions")
        versions = versions if isinstance(versions, dict) else {}
        listed = ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown"
        counted[
            str(run.status.host or about.get("host") or "unknown"), str(run.status.device or "unknown"), listed
        ] += 1
    return [Place(number, *place) for place, number in counted.most_common()]


def _spec_of(group: Group) -> dict[str, Any]:
    """Return the spec of a group's first run that has one, with keys that have an effect: all seeds share it."""
    spec = canonical(next((run.spec for run in group.runs if run.spec), {}))
    return {key: value for key, value in spec.items() if key not in BOOKKEEPING_KEYS}


def _sweep(specs: Sequence[dict[str, Any]]) -> dict[str, list[Any]] | None:
    """Return the keys that vary in an experiment, with their values; None if they are not a full product."""
    keys = [key for key in specs[0] if any(spec.get(key) != specs[0][key] for spec in specs)]
    values = {key: _different([spec.get(key) for spec in specs]) for key in keys if key != "metrics"}
    is_whole = len(values) == len(keys) and prod(map(len, values.values())) == len(specs)
    return values if is_whole else None


def _different(values: Sequence[Any]) -> list[Any]:
    return list({json.dumps(value): value for value in values}.values())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
