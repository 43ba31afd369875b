"""Look at the data of runs before anything is made, as their workers will."""

from collections.abc import Sequence
from dataclasses import dataclass

from lop_engine.datasets import Data
from lop_engine.experiment.code import load_name
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec


@dataclass(frozen=True)
class Resolved:
    """Runs whose specs say all that decides their numbers."""

    runs: list[Run]
    images: list[str]
    """What the data sets are called, each once; none for problems that read no files."""
    notes: list[str]
    """What people should know: a smaller split, a class order that repeats."""


def resolve_runs(runs: Sequence[Run]) -> Resolved:
    """Fill in what specs leave to their data. Raises DataError for data that are missing or cannot be used."""
    seeds: dict[Spec, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.spec, []).append(run.seed)
    found = {spec: _look_at_data(spec, its_seeds) for spec, its_seeds in seeds.items()}
    whole = [Run(run.experiment, run.setting, run.seed, found[run.spec].spec) for run in runs]
    names = dict.fromkeys(data.name for data in found.values() if data.name)
    notes = dict.fromkeys(note for data in found.values() for note in data.notes)
    return Resolved(whole, list(names), list(notes))


def _look_at_data(spec: Spec, seeds: Sequence[int]) -> Data:
    look = spec.parts.problem.data
    if not look:
        return Data(spec, "")
    if isinstance(look, str):  # lop's own
        data: Data = load_name(look)(spec, seeds)
        return data
    found = look(spec, list(seeds))
    return Data(Spec(**found["spec"]), found["name"], tuple(found["notes"]))
