"""Select runs by name: an experiment, ``experiment/setting``, a seed, a method, a name, a pattern or a path."""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from lop_engine.errors import LaunchError, did_you_mean
from lop_engine.runs.views import RunView, Snapshot

_METHOD = "method:"


def select(snapshot: Snapshot, selectors: Sequence[str]) -> list[RunView]:
    """The runs that any of `selectors` names; all of them if there is no selector.

    Raises:
        LaunchError: a selector matches no run (lists the names there are), or is ambiguous because it matches different
            runs as two kinds of name (says how to write each).
    """
    if not selectors:
        return list(snapshot.runs)
    chosen: set[int] = set()
    for selector in selectors:
        found = _named_by(selector, snapshot)
        if not found:
            raise LaunchError(_nothing(selector, snapshot))
        chosen |= found
    return [snapshot.runs[index] for index in sorted(chosen)]


def _named_by(selector: str, snapshot: Snapshot) -> set[int]:
    """The indices of the runs that a selector names. Raises LaunchError if it can be read in two ways."""
    if not selector.strip("/ "):
        return set()
    below = _below(selector, snapshot.runs_dir)
    in_path = _indices(snapshot, lambda view: view.dir.path.parts[-3:][: len(below)] == below) if below else set()
    if in_path and not _could_be_a_name(selector, snapshot.runs_dir):
        return in_path  # a path, as completed by a shell, means only that path
    if selector.startswith(_METHOD):
        return _of_method(selector.removeprefix(_METHOD), snapshot)
    return _by_name(selector.strip("/").split("/"), snapshot) or in_path


def _by_name(parts: Sequence[str], snapshot: Snapshot) -> set[int]:
    """Interpret a name in each way that its number of parts allows."""
    if len(parts) == 1:
        return _by_one_word(parts[0], snapshot)
    of_experiment = _indices(snapshot, lambda view: fnmatchcase(view.experiment, parts[0]))
    settings = _indices(snapshot, lambda view: fnmatchcase(view.setting, parts[1])) & of_experiment
    if len(parts) == 2:
        experiment, word = parts
        seeds = _indices(snapshot, lambda view: _is_seed(view, word)) & of_experiment
        readings = (
            _Reading("setting", f"{experiment}/{word}/*", settings),
            _Reading("seed", f"{experiment}/*/{word}", seeds),
        )
        _refuse_two("/".join(parts), *readings, snapshot.runs_dir)
        return settings or seeds
    return settings & _indices(snapshot, lambda view: _is_seed(view, parts[2])) if len(parts) == 3 else set()


def _by_one_word(word: str, snapshot: Snapshot) -> set[int]:
    named = _Reading("experiment", f"{word}/*", _indices(snapshot, lambda view: fnmatchcase(view.experiment, word)))
    seeds = _Reading("seed", f"*/*/{word}", _indices(snapshot, lambda view: _is_seed(view, word)))
    _refuse_two(word, named, seeds, snapshot.runs_dir)
    if seeds.runs:
        return seeds.runs
    method = _Reading("method", f"{_METHOD}{word}", _of_method(word, snapshot))
    if named.runs - method.runs and method.runs - named.runs:
        _refuse_two(word, named, method, snapshot.runs_dir)
    return named.runs or method.runs  # a method's name if no experiment has it


@dataclass(frozen=True)
class _Reading:
    """The runs that a selector names if read as one kind of name, and an unambiguous spelling of that reading."""

    kind: str
    spelling: str
    runs: set[int]

    @property
    def advice(self) -> str:
        count = f"{len(self.runs)} run{'s' * (len(self.runs) != 1)}"
        return f"{shlex.quote(self.spelling)} for the {self.kind} ({count})"


def _refuse_two(selector: str, one: _Reading, other: _Reading, runs_dir: Path) -> None:
    """Raise LaunchError if two readings of a selector name different runs."""
    if one.runs and other.runs and one.runs != other.runs:
        raise LaunchError(
            f'"{selector}" names {_an(one.kind)} and {_an(other.kind)} in {runs_dir}; '
            f"write {one.advice} or {other.advice}"
        )


def _an(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _of_method(patterns: str, snapshot: Snapshot) -> set[int]:
    """The runs of the methods that ``method:cbp,l2`` names, as in a filter."""
    named = [one.removeprefix("=") for one in patterns.lower().split(",")]
    return _indices(snapshot, lambda view: any(fnmatchcase(view.method.lower(), one) for one in named))


def _indices(snapshot: Snapshot, test: Callable[[RunView], bool]) -> set[int]:
    return {index for index, view in enumerate(snapshot.runs) if test(view)}


def _below(selector: str, runs_dir: Path) -> tuple[str, ...]:
    """What of a path lies below the runs directory; nothing for what is no path into it."""
    path = Path(selector).absolute()
    return path.relative_to(runs_dir.absolute()).parts if path.is_relative_to(runs_dir.absolute()) else ()


def _could_be_a_name(selector: str, runs_dir: Path) -> bool:
    """Whether a path is also a name: relative, where the working directory lies in the runs directory."""
    return selector[:1] not in ("/", ".") and Path(os.curdir).absolute().is_relative_to(runs_dir.absolute())


def _is_seed(view: RunView, pattern: str) -> bool:
    seeds = seed_range(pattern)
    return _is_one_of(pattern, (str(view.seed), view.dir.path.name)) or (seeds is not None and view.seed in seeds)


def _is_one_of(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def seed_range(text: str) -> range | None:
    """``3-7`` means the seeds 3 to 7; None for what is no range."""
    match = re.fullmatch(r"([0-9]{1,7})-([0-9]{1,7})", text)
    return range(int(match[1]), int(match[2]) + 1) if match else None


def _nothing(selector: str, snapshot: Snapshot) -> str:
    names = dict.fromkeys(
        name for view in snapshot.runs for name in (view.experiment, f"{view.experiment}/{view.setting}")
    )
    if not names:
        return f"no runs in {snapshot.runs_dir}; name another --runs-dir"
    shown = ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")
    return f'"{selector}" names no run in {snapshot.runs_dir}{did_you_mean(selector, names)} (there are {shown})'
