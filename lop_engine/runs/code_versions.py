"""Which code trained the runs: a mean over seeds that were trained by different code would mean nothing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from lop_engine.experiment.sweep import describe_seeds
from lop_engine.runs.code import code_difference
from lop_engine.runs.directory import versions_of
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
