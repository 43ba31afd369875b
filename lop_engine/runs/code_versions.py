"""Which code trained the runs: a mean over seeds that were trained by different code would mean nothing."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from lop_engine.errors import LaunchError, StoreError
from lop_engine.experiment.sweep import describe_seeds
from lop_engine.runs.code import changed_lines, copies_of, files_in
from lop_engine.runs.directory import RunDir, numerics_of, versions_of
from lop_engine.runs.views import RunView


@dataclass(frozen=True)
class MixedCode:
    """Seeds of one setting that were trained by different code."""

    setting: str
    """``experiment/setting``"""
    seeds: tuple[tuple[int, ...], ...]
    """The seeds of each version of the code; that of the lowest seed comes first."""
    difference: str
    """Between the first two versions: ``my_redo.py, line 12: "x < 1" and "x > 1"``."""

    @property
    def text(self) -> str:
        """What differs, and what to do."""
        others = self.seeds[1:]
        versions = " and ".join(map(_seeds, self.seeds))
        rest = describe_seeds(chain.from_iterable(others)).rstrip(",")
        return (
            f"{versions} were trained by different code ({self.difference}), so their mean means nothing; "
            f'leave some out, for example --where "-seed:{rest}"'
        )


def mixed_code(runs: Iterable[RunView]) -> Iterator[MixedCode]:
    """The settings among `runs` whose seeds were trained by different code. Runs that cannot be read do not count."""
    by_setting: dict[tuple[str, str], list[RunView]] = {}
    for run in runs:
        if run.spec:
            by_setting.setdefault((run.experiment, run.setting), []).append(run)
    for (experiment, setting), seeds in by_setting.items():
        versions: dict[object, list[RunView]] = {}
        for run in sorted(seeds, key=lambda run: run.seed):
            versions.setdefault(versions_of(run.code), []).append(run)
        if len(versions) > 1:
            (one, *_), (other, *_), *_ = versions.values()
            difference = code_difference(one.dir, other.dir, (one.code, other.code))
            parts = tuple(tuple(run.seed for run in part) for part in versions.values())
            yield MixedCode(f"{experiment}/{setting}", parts, difference)


def versions_between(runs: Iterable[RunView]) -> list[str]:
    """Lines about files, and lop's numerics, of which some settings were trained by another version than others."""
    found: dict[str, dict[tuple[str, ...], dict[str, None]]] = {}
    for run in runs:
        names = dict.fromkeys(name for name, _ in run.code)
        for name in names if run.spec else ():
            version = tuple(dict.fromkeys(sha256 for one, sha256 in run.code if one == name))
            found.setdefault(name, {}).setdefault(version, {})[f"{run.experiment}/{run.setting}"] = None
    return [
        f"{' and '.join(map(_settings, by_version.values()))} were trained by different versions of {name}"
        for name, by_version in found.items()
        if len(by_version) > 1 and len(set(map(tuple, by_version.values()))) > 1
    ]


def _settings(names: Iterable[str]) -> str:
    first, *others = names
    return f"{first} (and {len(others)} more)" if others else first


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {describe_seeds(seeds).rstrip(',')}"


@lru_cache(maxsize=1024)
def code_difference(one: RunDir, other: RunDir, state: Hashable) -> str:
    """In what the code of two runs differs: ``my_redo.py, line 12: "x < 1" and "x > 1"``. Executes nothing.

    Args:
        state: answers are remembered for as long as it stays the same.
    """
    try:
        configs = one.read_config(), other.read_config()
        found = [*_different_numerics(*map(_all_numerics, configs)), *_different_files((one, other), configs)]
    except (StoreError, LaunchError, OSError, TypeError, KeyError, ValueError, AttributeError):
        return "run.json says no more"
    return "; ".join(found)


def _all_numerics(config: Mapping[str, Any]) -> list[int]:
    return [*config.get("code", {}).get("earlier_numerics", []), numerics_of(config)]


def _different_numerics(ours: Sequence[int], theirs: Sequence[int]) -> Iterator[str]:
    if ours != theirs:
        yield f"lop's own numerics {' then '.join(map(str, ours))} and {' then '.join(map(str, theirs))}"


def _different_files(run_dirs: Sequence[RunDir], configs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ours, theirs = (_by_name(*pair) for pair in zip(run_dirs, configs, strict=True))
    for name in dict.fromkeys([*ours, *theirs]):
        (our_sums, our_copy), (their_sums, their_copy) = (side.get(name, ([], None)) for side in (ours, theirs))
        if not our_sums or not their_sums:
            yield f"{name} in one of them alone"
        elif our_sums[-1] == their_sums[-1] and our_sums != their_sums:
            yield f"{name}, which was changed while one of them was trained"
        elif our_sums != their_sums:
            lines = changed_lines(our_copy, their_copy) if our_copy and their_copy else None
            yield name + (f', line {lines[0]}: "{lines[1]}" and "{lines[2]}"' if lines else "")


def _by_name(run_dir: RunDir, config: Mapping[str, Any]) -> dict[str, tuple[list[str], Path]]:
    """By name of a file: its checksums, those of earlier versions first, and its copy."""
    sums: dict[str, list[str]] = {}
    for files in (*config.get("earlier_files", []), files_in(config)):
        for one in (one for group in files for one in group):
            sums.setdefault(Path(one["path"]).name, []).append(one["sha256"])
    copies = {
        copy.name: copy for index, group in enumerate(files_in(config)) for copy in copies_of(run_dir, index, group)
    }
    return {name: (list(dict.fromkeys(sums[name])), copies[name]) for name in sums if name in copies}
