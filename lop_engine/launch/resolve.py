"""Fills in open keys of runs' specs: those that depend on their data, and values with which a run began."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lop_engine.datasets import Data
from lop_engine.errors import ConfigError, StoreError
from lop_engine.experiment.code import load_name
from lop_engine.experiment.parts import BOOKKEEPING_KEYS
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec, validate
from lop_engine.runs.directory import RunDir, find_runs


@dataclass(frozen=True)
class Resolved:
    """Runs with complete specs."""

    runs: list[Run]
    images: list[str]
    """Names of the data sets, without repetitions; none for problems that read no files."""
    notes: list[str]
    """Notes for the user: a smaller split, a class order that repeats."""


def resolve_runs(runs: Sequence[Run]) -> Resolved:
    """Fill in the keys that depend on data. Raises DataError for data that are missing or cannot be used."""
    seeds: dict[Spec, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.spec, []).append(run.seed)
    data_of = {spec: _look_at_data(spec, its_seeds) for spec, its_seeds in seeds.items()}
    whole = [Run(run.experiment, run.setting, run.seed, data_of[run.spec].spec) for run in runs]
    names = dict.fromkeys(data.name for data in data_of.values() if data.name)
    notes = dict.fromkeys(note for data in data_of.values() for note in data.notes)
    return Resolved(whole, list(names), list(notes))


def _look_at_data(spec: Spec, seeds: Sequence[int]) -> Data:
    look = spec.parts.problem.data
    if not look:
        return Data(spec, "")
    if isinstance(look, str):  # one of lop's own
        data: Data = load_name(look)(spec, seeds)
        return data
    answer = look(spec, list(seeds))
    return Data(Spec(**answer["spec"]), answer["name"], tuple(answer["notes"]))


#: Keys in which a run may differ from its experiment file: it keeps its first values.
_KEPT_KEYS = BOOKKEEPING_KEYS | {"curvature_every", "stop_when"}


def as_begun(runs_dir: Path, runs: Sequence[Run]) -> list[Run]:
    """Return the runs; existing ones keep their old values of these keys, even if their file has changed.

    A run.json that cannot be read is ignored here: `prepare_run_dirs` reports it.
    """
    begun = set(find_runs(runs_dir))
    if not begun:
        return list(runs)
    dirs = [RunDir.of(runs_dir, run) for run in runs]
    return [
        replace(run, spec=_spec_as_begun(run_dir, run.spec)) if run_dir in begun else run
        for run_dir, run in zip(dirs, runs, strict=True)
    ]


def _spec_as_begun(run_dir: RunDir, spec: Spec) -> Spec:
    with suppress(StoreError, ConfigError, OSError):
        own = validate(run_dir.read_spec(), str(run_dir.run_json))
        return spec.with_changes(**{key: getattr(own, key) for key in _KEPT_KEYS})
    return spec
