"""Selects the runs that a command's arguments name, and that meet its conditions.

A name is an experiment, ``experiment/setting``, a seed, a method, a run, a pattern or a path, and must match as a
whole: ``bp`` is not ``cbp``. Of the runs that match any name, those that meet all conditions are selected
(`lop_engine.runs.query`): ``bp cbp seed:0-9 test_accuracy<0.55``.
"""

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from lop_engine.errors import LaunchError, did_you_mean
from lop_engine.experiment.sweep import describe_seeds
from lop_engine.runs.conditions import fits
from lop_engine.runs.query import Query, has_condition, hint, how_to_compare, parse_query, seed_range
from lop_engine.runs.views import RunView, Snapshot


@dataclass(frozen=True)
class Selection:
    """The selected runs."""

    runs: tuple[RunView, ...]
    query: Query
    """The conditions."""
    notes: tuple[str, ...]
    """Notes for the user on runs that do not match."""


def choose(snapshot: Snapshot, selectors: Sequence[str], where: str = "") -> Selection:
    """Return the runs that `selectors` and `where` select; all of them if there is neither.

    Args:
        selectors: names and conditions, one or more in each.
        where: a query; names in it match parts of names.
    Raises:
        LaunchError: a name matches no run (lists the existing names), or is ambiguous because it matches different
            runs as two kinds of name (says how to write each); or no run matches.
        QueryError: a condition is invalid.
    """
    names, words = _divided(snapshot, selectors)
    named = _named(snapshot, names)
    text = " ".join([*words, where]).strip()
    query = parse_query(text)
    runs = tuple(view for view in named if query.matches(view))
    if text and named and not runs:
        place = f"of {', '.join(names)}" if names else f"in {snapshot.place}"
        of_these = f"{len(named)} run{'s' * (len(named) != 1)} {place}"
        raise LaunchError(f'none of the {of_these} matches "{text}"{hint(named, text)}')
    return Selection(runs, query, tuple(query.notes(named)))


def select(snapshot: Snapshot, selectors: Sequence[str]) -> list[RunView]:
    """Return the runs that `choose` selects. Raises LaunchError and QueryError likewise."""
    return list(choose(snapshot, selectors).runs)


def _divided(snapshot: Snapshot, selectors: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate names from conditions. A selector that names a run is a name, whatever characters it contains."""
    names: list[str] = []
    conditions: list[str] = []
    for selector in selectors:
        if not has_condition(selector) or _named_by(selector, snapshot):
            names.append(selector)
            continue
        for word in selector.split():
            (conditions if has_condition(word) or word.startswith("-") else names).append(word)
    return names, conditions


def _named(snapshot: Snapshot, names: Sequence[str]) -> list[RunView]:
    """Return the runs that match any of `names`; all of them by default. Raises LaunchError."""
    if not names:
        return list(snapshot.runs)
    chosen: set[int] = set()
    for name in names:
        indices = _named_by(name, snapshot)
        if not indices:
            raise LaunchError(_nothing(name, snapshot))
        chosen |= indices
    return [snapshot.runs[index] for index in sorted(chosen)]


def names_of(runs: Iterable[RunView]) -> list[str]:
    """Return names that select exactly `runs`: ``cbp/default/0-4``, one for each setting and range of seeds."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(escape(f"{run.experiment}/{run.setting}"), []).append(run.seed)
    return [
        f"{setting}/{part}"
        for setting, of_setting in seeds.items()
        for part in describe_seeds(of_setting).split(",")
        if part
    ]


def _named_by(selector: str, snapshot: Snapshot) -> set[int]:
    """Return the indices of the runs that a selector names. Raises LaunchError if it is ambiguous."""
    if not selector.strip("/ "):
        return set()
    runs_dirs = (snapshot.runs_dir, *snapshot.others)
    in_path = set().union(*(_by_path(selector, snapshot, runs_dir) for runs_dir in runs_dirs))
    if in_path and not any(_could_be_a_name(selector, runs_dir) for runs_dir in runs_dirs):
        return in_path  # a path, as completed by a shell, only means that path
    return _by_name(selector.strip("/").split("/"), snapshot) or in_path


def _by_path(selector: str, snapshot: Snapshot, runs_dir: Path) -> set[int]:
    """Return the indices of the runs in `runs_dir` at the path `selector` or below."""
    below = _below(selector, runs_dir)
    if not below:
        return set()
    return _indices(
        snapshot,
        lambda view: view.dir.path.parents[2] == runs_dir and view.dir.path.parts[-3:][: len(below)] == below,
    )


def _by_name(parts: Sequence[str], snapshot: Snapshot) -> set[int]:
    """Interpret a name in every way that fits its number of parts."""
    if len(parts) == 1:
        return _by_one_word(parts[0], snapshot)
    of_experiment = _indices(snapshot, lambda view: fits(view.experiment, parts[0]))
    settings = _indices(snapshot, lambda view: fits(view.setting, parts[1])) & of_experiment
    if len(parts) == 2:
        experiment, word = parts
        seeds = _indices(snapshot, lambda view: _is_seed(view, word)) & of_experiment
        readings = (
            _Reading("setting", f"{experiment}/{word}/*", settings),
            _Reading("seed", f"{experiment}/*/{word}", seeds),
        )
        _refuse_two("/".join(parts), *readings, snapshot.place)
        return settings or seeds
    return settings & _indices(snapshot, lambda view: _is_seed(view, parts[2])) if len(parts) == 3 else set()


def _by_one_word(word: str, snapshot: Snapshot) -> set[int]:
    named = _Reading("experiment", f"{word}/*", _indices(snapshot, lambda view: fits(view.experiment, word)))
    seeds = _Reading("seed", f"*/*/{word}", _indices(snapshot, lambda view: _is_seed(view, word)))
    _refuse_two(word, named, seeds, snapshot.place)
    if seeds.runs:
        return seeds.runs
    method = _Reading("method", f"method:{word}", _of_method(word, snapshot))
    if named.runs - method.runs and method.runs - named.runs:
        _refuse_two(word, named, method, snapshot.place)
    return named.runs or method.runs  # a method's name if no experiment has that name


@dataclass(frozen=True)
class _Reading:
    """The runs of one interpretation of a selector, and an unambiguous spelling of it."""

    kind: str
    spelling: str
    runs: set[int]

    @property
    def advice(self) -> str:
        count = f"{len(self.runs)} run{'s' * (len(self.runs) != 1)}"
        return f"{shlex.quote(self.spelling)} for the {self.kind} ({count})"


def _refuse_two(selector: str, one: _Reading, other: _Reading, place: str) -> None:
    """Raise LaunchError if two interpretations of a selector name different runs."""
    if one.runs and other.runs and one.runs != other.runs:
        raise LaunchError(
            f'"{selector}" names {_an(one.kind)} and {_an(other.kind)} in {place}; write {one.advice} or {other.advice}'
        )


def _an(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _of_method(pattern: str, snapshot: Snapshot) -> set[int]:
    return _indices(snapshot, lambda view: fits(view.method.lower(), pattern.lower()))


def _indices(snapshot: Snapshot, test: Callable[[RunView], bool]) -> set[int]:
    return {index for index, view in enumerate(snapshot.runs) if test(view)}


def _below(selector: str, runs_dir: Path) -> tuple[str, ...]:
    """Return the part of a path below the runs directory; empty for other paths."""
    path = Path(selector).absolute()
    return path.relative_to(runs_dir.absolute()).parts if path.is_relative_to(runs_dir.absolute()) else ()


def _could_be_a_name(selector: str, runs_dir: Path) -> bool:
    """Whether a path may also be a name: relative, with the working directory inside the runs directory."""
    return selector[:1] not in ("/", ".") and Path(os.curdir).absolute().is_relative_to(runs_dir.absolute())


def _is_seed(view: RunView, pattern: str) -> bool:
    seeds = seed_range(pattern)
    return _is_one_of(pattern, (str(view.seed), view.dir.path.name)) or (seeds is not None and view.seed in seeds)


def _is_one_of(pattern: str, names: Iterable[str]) -> bool:
    return any(fits(name, pattern) for name in names)


def _nothing(selector: str, snapshot: Snapshot) -> str:
    names = dict.fromkeys(
        name for view in snapshot.runs for name in (view.experiment, f"{view.experiment}/{view.setting}")
    )
    if not names:
        return f"no runs in {snapshot.place}; name another --runs-dir"
    advice = how_to_compare(selector) or did_you_mean(selector, names)
    shown = ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")
    return f'"{selector}" names no run in {snapshot.place}{advice} (there are {shown})'
