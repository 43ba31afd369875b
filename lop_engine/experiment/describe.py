"""``python -m lop_engine.experiment.describe``: describes the components in users' files and installed packages.

It imports them, which only this process and workers do. It answers requests, a line of JSON each way, until its
standard input ends or nothing has been asked for `IDLE_S` (`child` asks). Before it executes
something, it writes what to report if that never returns: ``{"begin": "/home/me/my_redo.py: cannot be imported"}``.
"""

import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from lop_engine.errors import UserError
from lop_engine.experiment.code import import_file, load_name, own_descriptions, siblings
from lop_engine.experiment.components import Component
from lop_engine.experiment.fields import schema_of
from lop_engine.experiment.registry import REGISTRIES, execute_installed, known_kind
from lop_engine.experiment.spec import Spec
from lop_engine.files import source_checksum

IDLE_S = 20.0
_NOT_TOLD = {"fields", "modules", "also"}


class Server:
    """Answers requests. Output of the components is discarded."""

    def __init__(self) -> None:
        self._requests, self._answers = os.dup(0), os.dup(1)
        self._pid = os.getpid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        self._described: dict[Path, tuple[str, dict[str, Any]]] = {}

    def serve(self) -> None:
        """Answer until the input ends or no request has come for a while."""
        pending = b""
        while select.select([self._requests], [], [], IDLE_S)[0]:
            block = os.read(self._requests, 2**16)
            if not block:
                return
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                self._say(self._answer(json.loads(line)))

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            files = [(Path(path), sha256) for path, sha256 in request["files"]]
            if any(path in self._described and self._described[path][0] != sha256 for path, sha256 in files):
                return {"stale": True}
            described = [self._describe_file(*file) for file in files]
            if "call" in request:
                return self._call(**request["call"])
            return {"answer": described or [self._describe_installed(*one) for one in request["installed"]]}
        except BaseException as error:  # components may also exit
            return {"error": in_one_line(error)}

    def _describe_file(self, path: Path, sha256: str) -> dict[str, Any]:
        """Return the descriptions in a file, and their source files."""
        if path in self._described:
            return self._described[path][1]
        self._say({"begin": f"{path}: cannot be imported"})
        before = set(sys.modules)
        try:
            if source_checksum(path.read_bytes()) != sha256:
                return {"error": "has changed while lop read it; run the command again"}
            module = import_file(path)
            self._end_if_forked()
            components = own_descriptions(module)
            if not components:
                return {"error": "describes no component; docs/own-components.md shows how"}
            for one in components:
                known_kind(one).add(one)
            modules = list(siblings(module, [sys.modules[name] for name in sys.modules.keys() - before]))
            answer = {"components": [_fields_of(one) for one in components], "modules": modules}
        except BaseException as error:
            self._end_if_forked()
            return {"error": f"cannot be imported: {in_one_line(error, path)}"}
        self._described[path] = sha256, answer
        return answer

    def _describe_installed(self, key: str, name: str) -> dict[str, Any]:
        """Return the component of that name from an installed package."""
        registry = REGISTRIES[key]
        self._say({"begin": f"{registry.kind} {name} of {registry.place_of(name)} cannot be loaded"})
        try:
            component = registry.find(name)
            self._end_if_forked()
            return {"components": [_fields_of(component)] if component else [], "modules": []}
        except BaseException as error:
            self._end_if_forked()
            return {"error": str(error) if isinstance(error, UserError) else in_one_line(error)}

    def _call(self, key: str, name: str, field: str, arguments: Sequence[Any]) -> dict[str, Any]:
        """Call a function of a description: the number of examples of a task, the memory of a network."""
        component = REGISTRIES[key].find(name)
        self._say({"begin": f"{key} {name}: {field}: no answer"})
        function: Callable[..., Any] = getattr(component, field)
        if isinstance(function, str):
            function = load_name(function)
        try:
            answer = function(*(_argument(one, component) for one in arguments))
        except UserError as error:
            return {"refused": str(error), "kind": type(error).__name__}
        return {"answer": _as_json(answer)}

    def _say(self, content: Mapping[str, Any]) -> None:
        line = json.dumps(content).encode() + b"\n"
        while line:
            line = line[os.write(self._answers, line) :]

    def _end_if_forked(self) -> None:
        """End this process if it is a fork that a component made: it must not answer too."""
        if os.getpid() != self._pid:
            os._exit(0)


def _argument(value: Any, component: Any) -> Any:
    if isinstance(value, dict):
        return Spec(**value["spec"]) if "spec" in value else component.fields(**value["fields"])
    return tuple(value) if isinstance(value, list) else value


def _as_json(value: Any) -> Any:
    """Return a value for JSON: a problem's data contain a spec; sizes are dataclasses."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _as_json(getattr(value, one.name)) for one in dataclass_fields(value)}
    return value.to_dict() if isinstance(value, Spec) else value


def _fields_of(one: Component) -> dict[str, Any]:
    values = {"key": one.key, "fields": schema_of(one.fields)} | dict(_values(one))
    values["functions"] = [field.name for field in dataclass_fields(one) if _is_function(one, field.name)]
    for name, value in values.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise TypeError(f"{one.key} {one.name}: {name} is of a type that a description cannot hold") from None
    return values


def _is_function(one: Component, name: str) -> bool:
    """Whether a field is a function that is only called in this process; a component's code belongs to workers."""
    value = getattr(one, name)
    return name not in {*_NOT_TOLD, "code"} and (callable(value) or (name == "data" and bool(value)))


def _values(one: Component) -> Iterator[tuple[str, Any]]:
    for field in dataclass_fields(one):
        value = getattr(one, field.name)
        if field.name in _NOT_TOLD or callable(value) or _is_function(one, field.name):
            continue
        yield field.name, sorted(value) if isinstance(value, frozenset) else value


def in_one_line(error: BaseException, path: Path | None = None) -> str:
    """Return ``line 7: NameError: name 'x' is not defined``, with the line in the user's file."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace:
        if path and Path(trace.tb_frame.f_code.co_filename) == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"line {line}: " if line else ""
    return f"{where}{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")


def main() -> None:
    server = Server()
    execute_installed()
    server.serve()
    os._exit(0)  # threads that a component has started end too


if __name__ == "__main__":
    main()
