"""Which runs a person means: a method, ``method/setting``, a seed, a run's whole name, a pattern, a path."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from lop_engine.errors import LaunchError, did_you_mean
from lop_engine.runs import RunView, Snapshot


def select(snapshot: Snapshot, selectors: Sequence[str]) -> list[RunView]:
    """The runs that any of `selectors` names; all of them where there is no selector.

    Raises:
        LaunchError: a selector names no run; says which names there are.
    """
    if not selectors:
        return list(snapshot.runs)
    chosen: dict[int, RunView] = {}
    for selector in selectors:
        found = _named_by(selector, snapshot)
        if not found:
            raise LaunchError(_nothing(selector, snapshot))
        chosen |= found
    return [chosen[index] for index in sorted(chosen)]


def _named_by(selector: str, snapshot: Snapshot) -> dict[int, RunView]:
    views = dict(enumerate(snapshot.runs))
    if not selector.strip("/ "):
        return {}
    below = _below(selector, snapshot.runs_dir)
    if below:  # a path, as a shell completes it, means itself alone
        return {index: view for index, view in views.items() if view.dir.path.parts[-3:][: len(below)] == below}
    parts = selector.split("/")
    found = {index: view for index, view in views.items() if _matches(view, parts)}
    if found or len(parts) > 1:
        return found
    # A method's name, where no experiment is called so.
    return {index: view for index, view in views.items() if _is_one_of(selector, {str(view.spec.get("agent"))})}


def _below(selector: str, runs_dir: Path) -> tuple[str, ...]:
    """What of a path lies below the runs directory; nothing for what is no path into it."""
    path = Path(selector).absolute()
    return path.relative_to(runs_dir.absolute()).parts if path.is_relative_to(runs_dir.absolute()) else ()


def _matches(view: RunView, parts: Sequence[str]) -> bool:
    seed = {str(view.seed), view.dir.path.name}
    match parts:
        case [one]:
            return _is_one_of(one, {view.experiment} | seed)
        case [one, two]:
            return _is_one_of(one, {view.experiment}) and _is_one_of(two, {view.setting} | seed)
        case [one, two, three]:
            return _is_one_of(one, {view.experiment}) and _is_one_of(two, {view.setting}) and _is_one_of(three, seed)
    return False


def _is_one_of(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names) or _is_in_range(pattern, names)


def _is_in_range(pattern: str, names: Iterable[str]) -> bool:
    seeds = seed_range(pattern)
    return seeds is not None and any(name.isdecimal() and int(name) in seeds for name in names)


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
