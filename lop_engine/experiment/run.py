"""Finds an experiment file, also by the name of one shipped with lop, and expands it into runs."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lop_engine.errors import ConfigError, did_you_mean
from lop_engine.experiment import reference
from lop_engine.experiment.component_files import with_files
from lop_engine.experiment.keys import check_effect, check_keys, keys_of_setting, takes_list
from lop_engine.experiment.parts import renamed
from lop_engine.experiment.registry import PROBLEMS
from lop_engine.experiment.spec import Spec, hashable, validate
from lop_engine.experiment.sweep import MAX_RUNS, expand_sweep, read_config, twice, without_comments

DIRECTORY = Path(__file__).parents[1] / "configs"


def shipped() -> Mapping[str, Path]:
    """Return every experiment file shipped with lop, by name."""
    files = {path.relative_to(DIRECTORY).with_suffix("").as_posix(): path for path in DIRECTORY.rglob("*.json")}
    return dict(sorted(files.items(), key=lambda item: ("/" in item[0], item[0])))


def comment(path: Path) -> str:
    """Return an experiment file's comment, in a line."""
    text = json.loads(path.read_text()).get("_comment", "")
    return str(text)


def find_config(typed: Path, notes: list[str] | None = None) -> Path:
    """Return the experiment file for an argument: a path, or the name of one shipped with lop.

    A file in the working directory takes precedence over a shipped one of the same name; a note says so.

    Raises:
        ConfigError: there is neither.
    """
    name = typed.as_posix().removeprefix("./")
    if typed.exists() or name not in shipped():
        if typed.exists() or typed.suffix:
            return typed
        here = typed.with_name(typed.name + ".json")
        if here.exists():
            return here
        raise ConfigError(f"{typed}: no such file{did_you_mean(name, [*shipped(), *_names_beside(typed)])}")
    here = typed.with_name(typed.name + ".json")
    if here.exists():
        if notes is not None:
            notes.append(f"{here}: this file is used, not the experiment {name} that comes with lop")
        return here
    return shipped()[name]


def _names_beside(typed: Path) -> list[str]:
    return [path.with_suffix("").as_posix() for path in typed.parent.glob("*.json")] if typed.parent.is_dir() else []


#: An experiment's name is used as a directory and as a label.
_EXPERIMENT = re.compile(r"\w[\w .+=-]*")


@dataclass(frozen=True)
class Run:
    """One seed of one setting of one experiment; it has a run directory."""

    experiment: str
    setting: str
    seed: int
    spec: Spec

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.setting}/{self.seed}"


def load_runs(
    path: Path,
    seeds: list[int] | None = None,
    overrides: dict[str, Any] | None = None,
    notes: list[str] | None = None,
    options: Mapping[str, str] | None = None,
) -> list[Run]:
    """Read an experiment file and expand it.

    Args:
        path: the JSON file, or the name of a shipped one; its stem names the experiment.
        seeds: seeds to run; by default the seed in a file of the reference's generator, else 0 .. num_runs - 1.
        overrides: values that replace the file's (a list sweeps here too).
        options: by key of `overrides`, its option if that is not ``--set``.
        notes: receives notes for the user, such as keys that have no effect or a seed that replaces the file's.
    Raises:
        ConfigError: names file, key, value and the nearest valid choice.
    """
    path = find_config(path, notes)
    _check_name(path)
    typed = without_comments(overrides or {})
    raw = read_config(path)
    source = renamed({key: str(path) for key in raw} | dict.fromkeys(typed, "--set") | dict(options or {}))
    collected = notes if notes is not None else []
    names_problem = "problem" in raw | typed
    if not names_problem:
        raw["problem"] = _problem(raw, str(path))
    raw = reference.adapted(renamed(raw), renamed(typed), str(path), collected, names_problem)
    source |= dict.fromkeys(raw.keys() - source.keys(), str(path))
    raw = with_files(raw, path.parent.absolute(), source)
    raw = check_keys(raw, str(path), source, collected)
    if "class_order" in raw:
        raw["class_order"] = _absolute(raw["class_order"])  # a worker may run in another directory
    runs: list[Run] = []
    settings: dict[Any, dict[str, Any]] = {}
    methods: dict[str, set[str]] = {}
    for setting, values in _settings(raw, str(path), source):
        spec = validate(values, str(path), source)
        methods[spec.method] = methods.get(spec.method, set()) | values.keys()
        _refuse_the_same(settings.setdefault(_meaning(spec), values), values, raw, source)
        chosen = _seeds(seeds, spec, values, str(path), collected)
        if len(runs) + len(chosen) > MAX_RUNS:
            raise ConfigError(f"{path}: settings times seeds make more than {MAX_RUNS} runs")
        runs += [Run(path.stem, setting, seed, spec) for seed in chosen]
    check_effect(raw, methods, source, collected)
    collected[:] = dict.fromkeys(collected)
    return runs


def _settings(raw: Mapping[str, Any], where: str, source: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (setting name, values) of every setting.

    If the file sweeps over agents, networks or optimisers, a setting only has the keys of its own components, and
    settings that become identical are merged.
    """
    seen = set()
    for setting in expand_sweep(raw, where, source, takes_list):
        own = keys_of_setting(setting.values)
        point = tuple((key, at) for key, at in setting.positions.items() if key in own)
        if point not in seen:
            seen.add(point)
            yield setting.name(own, where), {key: value for key, value in setting.values.items() if key in own}


def _meaning(spec: Spec) -> Any:
    """Return a value that is equal for settings that train the same, such as bp with weight decay and l2."""
    return hashable(spec.to_dict() | {"agent": spec.method})


def _problem(raw: Mapping[str, Any], where: str) -> str:
    try:
        return reference.problem_of(raw, PROBLEMS)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_name(path: Path) -> None:
    if not _EXPERIMENT.fullmatch(path.stem):
        raise ConfigError(
            f"{ascii(str(path))[1:-1]}: names an experiment, so its name may only have letters, digits and . _ + = -"
        )


def _absolute(class_order: Any) -> Any:
    """The path of a table of class orders, or a list of them, made absolute; other values are unchanged."""
    if isinstance(class_order, list):
        return [_absolute(one) for one in class_order]
    return str(Path(class_order).absolute()) if isinstance(class_order, str) and class_order else class_order


def _refuse_the_same(
    first: dict[str, Any], values: dict[str, Any], raw: Mapping[str, Any], source: Mapping[str, str]
) -> None:
    """Refuse a setting with the same configuration as an earlier one, `first`."""
    if first is not values:
        # The first such pair differs in only one key, because settings come in the order of the product.
        differing = [key for key in raw if json.dumps(first.get(key)) != json.dumps(values.get(key))]
        repeated = [
            key for key in raw if isinstance(raw[key], list) and len(set(map(json.dumps, raw[key]))) < len(raw[key])
        ]
        key = (differing or repeated)[0]
        raise ConfigError(f"{source[key]}: {twice(key, first.get(key), values.get(key), raw[key])}")


def _seeds(seeds: list[int] | None, spec: Spec, values: dict[str, Any], where: str, notes: list[str]) -> Sequence[int]:
    """Return the seeds of one setting: the requested ones, the one in the file, or 0 .. num_runs - 1.

    The reference's generator writes a file for each run; run_idx is its seed, and num_runs says how many such files
    there are. In a file for all runs, which has no index, run_idx is 0.
    """
    is_generated = "index" in values or isinstance(values.get("run_idx"), str) or spec.run_idx > 0
    if not is_generated:
        return seeds if seeds is not None else range(spec.num_runs)
    if seeds is None:
        if spec.num_runs > 1:
            notes.append(f"{where}: only seed {spec.run_idx} (run_idx) is trained; use --seeds {spec.num_runs} for all")
        return [spec.run_idx]
    if seeds != [spec.run_idx]:
        notes.append(f"{where}: --seeds replaces the file's seed {spec.run_idx} (run_idx)")
    return seeds
