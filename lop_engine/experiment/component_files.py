"""A user's own components: ``"agent": "./my_method.py"``, a Python file beside the experiment file.

The file is never executed here. A child process executes it (`describe`), and answers with its descriptions as JSON;
the worker that trains executes it again. `:Name` after the path selects one of several descriptions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lop_engine.errors import ConfigError, did_you_mean, why
from lop_engine.experiment.child import KINDS, ask_files, component_from
from lop_engine.experiment.components import Component, Module
from lop_engine.experiment.mistakes import shown
from lop_engine.experiment.registry import REGISTRIES, known_kind
from lop_engine.files import read_small, source_checksum

_MOST_BYTES = 16 * 2**20
"""Of a Python file; a larger one is something else."""


@dataclass(frozen=True)
class ComponentPath:
    """``my_method.py:Name``, as typed."""

    path: Path
    name: str
    """Empty if the file has only one description of the kind."""


def with_files(raw: Mapping[str, Any], directory: Path, source: Mapping[str, str]) -> dict[str, Any]:
    """Return the keys of an experiment with names in place of files, after registering the files' components.

    Args:
        directory: base of relative paths in the experiment file; the working directory is that of ``--set``.
    Raises:
        ConfigError: a file cannot be imported, or describes no component of the kind.
    """
    named = dict(raw)
    bases = {key: Path.cwd() if source.get(key) == "--set" else directory for key in KINDS}
    describe_files(path for key in KINDS for path in _paths(raw.get(key), key, bases[key], source.get(key, "")))
    for key, base in bases.items():
        value = raw.get(key)
        if isinstance(value, list):
            named[key] = [_name(one, key, base, source.get(key, "")) for one in value]
        elif value is not None:
            named[key] = _name(value, key, base, source.get(key, ""))
    return named


def _paths(value: Any, key: str, base: Path, where: str) -> Iterator[Path]:
    """Return the files among the values of a key. Raises ConfigError for one that cannot be read."""
    for one in value if isinstance(value, list) else [value]:
        if typed := _typed(one):
            yield _read(typed, base, f'{where}: key "{key}": {shown(one)}')[0]


def _read(typed: ComponentPath, base: Path, where: str) -> tuple[Path, str]:
    """Return a file's path and the checksum of its content. Raises ConfigError."""
    near = ""
    try:
        path = (base / typed.path.expanduser()).resolve()
        if path.parent.is_dir():
            near = did_you_mean(path.name, [one.name for one in path.parent.glob("*.py") if one != path])
        return path, source_checksum(read_small(path, _MOST_BYTES))
    except (OSError, ValueError, RuntimeError) as error:  # not a path; no such user; links in a circle
        raise ConfigError(f"{where}: {why(error)}{near}") from None


def component_of(value: Any, key: str, base: Path, where: str) -> Component | None:
    """Return the component of a file, if the value names one. Raises ConfigError."""
    typed = _typed(value)
    if typed is None:
        return None
    path, sha256 = _read(typed, base, f'{where}: key "{key}": {shown(value)}')
    return _chosen(register(path, sha256), key, typed, f"{where}: {path}")


def _name(value: Any, key: str, base: Path, where: str) -> Any:
    component = component_of(value, key, base, where)
    return component.name if component else value


def _typed(value: Any) -> ComponentPath | None:
    """Parse a path: a value that ends in .py or .py:Name; None for others."""
    if not isinstance(value, str):
        return None
    path, colon, name = value.rpartition(":") if value.rpartition(":")[0].endswith(".py") else (value, "", "")
    return ComponentPath(Path(path), name if colon else "") if path.endswith(".py") else None


def _chosen(components: Sequence[Component], key: str, typed: ComponentPath, where: str) -> Component:
    of_kind = [one for one in components if one.key == key]
    kind = REGISTRIES[key].kind
    if typed.name:
        for one in of_kind:
            if one.name == typed.name:
                return one
        raise ConfigError(f"{where}: describes no {kind} {typed.name}{_list(of_kind)}")
    if len(of_kind) == 1:
        return of_kind[0]
    if of_kind:
        raise ConfigError(f"{where}: describes several {kind}s{_list(of_kind)}; write {typed.path}:NAME")
    raise ConfigError(f"{where}: describes no {kind}{_list(components)}")


def _list(components: Sequence[Component]) -> str:
    return f" (there are {', '.join(f'{one.key} {one.name}' for one in components)})" if components else ""


#: Answers of the child process, by path and checksum.
answers: dict[tuple[Path, str], dict[str, Any]] = {}


def describe_files(paths: Iterable[Path]) -> None:
    """Have one child process describe files, for `register`. Raises ConfigError."""
    files = {(path, source_checksum(read_small(path, _MOST_BYTES))) for path in paths}
    unknown = sorted(files - answers.keys())
    if unknown:
        answers.update(zip(unknown, ask_files([(str(path), sha256) for path, sha256 in unknown]), strict=True))


def register(path: Path, sha256: str, replace: bool = False) -> tuple[Component, ...]:
    """Register the components of a file in this process; a child process describes them.

    Args:
        replace: replace components of other files: copies of one file in several runs.
    Raises:
        ConfigError: the file cannot be imported, or describes a component whose name is taken.
    """
    if (path, sha256) not in answers:
        [answers[path, sha256]] = ask_files([(str(path), sha256)])
    answer = answers[path, sha256]
    if "error" in answer:
        raise ConfigError(f"{path}: {answer['error']}")
    modules = tuple(Module(one["path"], one["sha256"]) for one in answer["modules"])
    try:
        components = tuple(component_from(one, modules) for one in answer["components"])
    except (ConfigError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    for one in components:
        registry = known_kind(one)
        if one.name in registry.built_in:
            raise ConfigError(f"{path}: {registry.kind} {one.name}: lop has one of that name; choose another name")
        if one.name in registry.installed:
            package = registry.place_of(one.name)
            raise ConfigError(f"{path}: {registry.kind} {one.name}: {package} has one of that name; rename one")
        registered = registry.get(one.name)
        if registered and not replace and registered.modules and registered.modules[0].path != str(path):
            other = registered.modules[0].path
            raise ConfigError(f"{other} and {path}: both describe {registry.kind} {one.name}; rename one")
        registry.add(one)
    return components
