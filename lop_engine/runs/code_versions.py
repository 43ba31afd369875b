"""Handles runs whose code has changed: a mean over seeds that were trained by different code is meaningless.

Viewers report which code trained the runs. Commands that train refuse a run whose code has changed since it began,
accept the current code, or use the copies in the run directory.
"""

import shutil
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from lop_engine import NUMERICS
from lop_engine.errors import LaunchError, StoreError
from lop_engine.experiment.component_files import register
from lop_engine.experiment.run import Run
from lop_engine.experiment.sweep import describe_seeds
from lop_engine.runs.code import (
    COPIES,
    changed_lines,
    checksum_of,
    code_files,
    copies_of,
    files_in,
    files_of,
    is_changed,
    keep_copies,
)
from lop_engine.runs.directory import RunDir, code_of, find_seeds, numerics_of, versions_of, write_json
from lop_engine.runs.locks import hold
from lop_engine.runs.records import ENDED
from lop_engine.runs.views import RunView

Choice = Literal["refuse", "accept", "stored"]
"""How to treat a run whose files have changed since it began."""


@dataclass(frozen=True)
class MixedCode:
    """Seeds of one setting that were trained by different code."""

    setting: str
    """``experiment/setting``"""
    seeds: tuple[tuple[int, ...], ...]
    """The seeds of each version of the code, the version of the lowest seed first."""
    difference: str
    """Difference of the first two versions: ``my_redo.py, line 12: "x < 1" and "x > 1"``."""

    @property
    def text(self) -> str:
        """Return the difference, and what to do."""
        others = self.seeds[1:]
        versions = " and ".join(map(_seeds, self.seeds))
        rest = describe_seeds(chain.from_iterable(others)).rstrip(",")
        return (
            f"{versions} were trained by different code ({self.difference}), so their mean is meaningless; "
            f'exclude some, for example with --where "-seed:{rest}"'
        )


def mixed_code(runs: Iterable[RunView]) -> Iterator[MixedCode]:
    """Return the settings whose seeds were trained by different code. Unreadable runs are ignored."""
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
    """Return lines about files, and lop's numerics, whose version differs between settings."""
    versions: dict[str, dict[tuple[str, ...], dict[str, None]]] = {}
    for run in runs:
        names = dict.fromkeys(name for name, _ in run.code)
        for name in names if run.spec else ():
            version = tuple(dict.fromkeys(sha256 for one, sha256 in run.code if one == name))
            versions.setdefault(name, {}).setdefault(version, {})[f"{run.experiment}/{run.setting}"] = None
    return [
        f"{' and '.join(map(_settings, by_version.values()))} were trained by different versions of {name}"
        for name, by_version in versions.items()
        if len(by_version) > 1 and len(set(map(tuple, by_version.values()))) > 1
    ]


def _settings(names: Iterable[str]) -> str:
    first, *others = names
    return f"{first} (and {len(others)} more)" if others else first


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {describe_seeds(seeds).rstrip(',')}"


@lru_cache(maxsize=1024)
def code_difference(one: RunDir, other: RunDir, state: Hashable) -> str:
    """Return how the code of two runs differs: ``my_redo.py, line 12: "x < 1" and "x > 1"``. Executes nothing.

    Args:
        state: key of the cache; the answer is cached until it changes.
    """
    try:
        configs = one.read_config(), other.read_config()
        differences = [*_different_numerics(*map(_all_numerics, configs)), *_different_files((one, other), configs)]
    except (StoreError, LaunchError, OSError, TypeError, KeyError, ValueError, AttributeError):
        return "run.json says no more"
    return "; ".join(differences)


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
    """Return by name each file's checksums, those of earlier versions first, and its copy."""
    sums: dict[str, list[str]] = {}
    for files in (*config.get("earlier_files", []), files_in(config)):
        for one in (one for group in files for one in group):
            sums.setdefault(Path(one["path"]).name, []).append(one["sha256"])
    copies = {
        copy.name: copy for index, group in enumerate(files_in(config)) for copy in copies_of(run_dir, index, group)
    }
    return {name: (list(dict.fromkeys(sums[name])), copies[name]) for name in sums if name in copies}


def settle_code(run_dirs: Iterable[RunDir], choice: Choice) -> list[RunDir]:
    """Apply the user's choice to runs whose code has changed since they began; other runs are unaffected.

    ``refuse`` refuses them, also ended ones: new seeds beside them would have different code. A run that failed
    before it began to train, because its component breaks a rule, uses the current code. ``accept`` writes the
    new checksums and copies, and keeps the earlier ones; ``stored`` resumes the run with its copies. Neither
    changes a run that has ended.

    Returns:
        Unfinished runs that a version of lop without records of code began. All of those computed the
        numbers of `numerics` 1.
    Raises:
        LaunchError: the code of a run has changed and the choice is ``refuse``, or a file to accept is gone.
        LockedError: another process trains or changes a run.
    """
    unrecorded = []
    for run_dir in run_dirs:
        if not run_dir.run_json.exists():
            continue
        config = run_dir.read_config()
        if choice == "refuse" and not _may_take_other_code(run_dir, config):
            code_files(run_dir, config)
        else:
            with hold(run_dir):
                if run_dir.read_status().state not in ENDED:
                    _settle(run_dir, "accept" if choice == "refuse" else choice)
        with suppress(StoreError):  # an invalid status is reported when the run is queued
            if not {"code", "imported"} & config.keys() and run_dir.read_status().state not in ENDED:
                unrecorded.append(run_dir)
    return unrecorded


def _may_take_other_code(run_dir: RunDir, config: Mapping[str, Any]) -> bool:
    """Whether a run failed before any seed of its setting began to train, and its files have changed since."""
    paths = [Path(group[0]["path"]) for group in files_in(config)]
    if config.get("use_stored_code") or not all(path.exists() for path in paths) or not is_changed(config):
        return False
    seeds = list(find_seeds(run_dir.path.parent))
    trained = (path for one in seeds for path in (one.checkpoint, one.previous_checkpoint, *one.records))
    return run_dir.read_status().state == "failed" and not any(path.exists() for path in trained)


def _settle(run_dir: RunDir, choice: Choice) -> None:
    """Accept the current code of a run, or switch to its copies. The run's lock must be held. Raises LaunchError."""
    config = run_dir.read_config()
    _restore_copies(run_dir, config)
    if choice == "stored":
        if is_changed(config):
            write_json(run_dir.run_json, {**config, "use_stored_code": True}, durable=True)
        return
    if numerics_of(config) != NUMERICS:
        config = _with_numerics(config)
        write_json(run_dir.run_json, config, durable=True)
    if not is_changed(config):
        if config.get("use_stored_code"):  # the file is the original again, so check it for changes from now on
            write_json(run_dir.run_json, {**config, "use_stored_code": False}, durable=True)
        return
    gone = [group[0]["path"] for group in files_in(config) if not Path(group[0]["path"]).exists()]
    if gone:
        raise LaunchError(f"{run_dir.name}: {gone[0]} is gone; choose --use-stored-code, or put it back")
    files = [_as_it_is(Path(group[0]["path"])) for group in files_in(config)]
    earlier = [*config.get("earlier_files", []), config["files"]]
    (run_dir.path / COPIES).rename(_earlier_copies(run_dir, len(earlier)))
    keep_copies(run_dir, files)
    accepted = {"files": files, "earlier_files": earlier, "use_stored_code": False}
    write_json(run_dir.run_json, config | accepted, durable=True)


def _restore_copies(run_dir: RunDir, config: Mapping[str, Any]) -> None:
    """Restore copies that an accepted change replaced, if the process was killed before run.json was written."""
    copies = _earlier_copies(run_dir, len(config.get("earlier_files", [])) + 1)
    if copies.exists():
        shutil.rmtree(run_dir.path / COPIES, ignore_errors=True)
        copies.rename(run_dir.path / COPIES)


def _earlier_copies(run_dir: RunDir, number: int) -> Path:
    return run_dir.path / f"{COPIES}.earlier-{number}"


def refuse_beside_other_code(runs_dir: Path, runs: Iterable[Run]) -> None:
    """Refuse new seeds of a setting whose other seeds were trained by different code. Raises LaunchError."""
    first_of_setting: dict[Path, tuple[RunDir, Run]] = {}
    for run in runs:
        run_dir = RunDir.of(runs_dir, run)
        if run_dir.path.parent not in first_of_setting and not run_dir.run_json.exists():
            first_of_setting[run_dir.path.parent] = run_dir, run
    for setting, (run_dir, run) in first_of_setting.items():
        ours = {"code": {"numerics": NUMERICS}, "files": files_of(run.spec)}
        for other in find_seeds(setting):
            theirs = other.read_config()
            if "imported" not in theirs and versions_of(code_of(theirs)) != versions_of(code_of(ours)):
                names = ", ".join(dict.fromkeys(name for name, _ in set(code_of(theirs)) ^ set(code_of(ours))))
                raise LaunchError(
                    f"{run_dir.name}: {other.name} was trained by different code ({names}), so a mean over both is "
                    "meaningless; put the code back, train under another name, or choose --accept-code-change"
                )


def _with_numerics(config: Mapping[str, Any]) -> dict[str, Any]:
    code = config.get("code", {})
    earlier = [*code.get("earlier_numerics", []), numerics_of(config)]
    return {**config, "code": {**code, "numerics": NUMERICS, "earlier_numerics": earlier}}


def _as_it_is(path: Path) -> list[dict[str, str]]:
    """Return a file and the modules that it imports, with their current checksums. Raises ConfigError."""
    [first, *_] = register(path, checksum_of(path), replace=True)
    return [{"path": module.path, "sha256": module.sha256} for module in first.modules]
