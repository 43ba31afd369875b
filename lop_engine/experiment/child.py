"""Asks a child process, `lop_engine.experiment.describe`, for descriptions in users' files and installed packages.

Only that process and workers execute them. The first question starts it, and it ends when it has not been asked
anything for a while. Code that takes longer than `LIMIT_S` is interrupted.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from tempfile import TemporaryFile
from typing import Any, Protocol, get_args, runtime_checkable

from lop_engine import errors
from lop_engine.errors import ConfigError, UserError
from lop_engine.experiment.components import COLUMNS, Component, Method, Metric, Module, Need, Network, Problem, Size
from lop_engine.experiment.fields import Fields, fields_of

LIMIT_S = 60.0
"""Longest time to import a file or package, or to call a function of a description. PyTorch alone takes seconds."""

START_S = 60.0
"""Longest time for the child to start, on a busy machine."""

KINDS: Mapping[str, type[Component]] = {"problem": Problem, "network": Network, "agent": Method, "metrics": Metric}
"""Kind of component, by the key of an experiment file that names it."""

_INSIDE = "LOP_DESCRIBES"
"""Set in the child, where code cannot start another child."""
_LISTS = ("metrics", "charts", "together", "takes")
_SETS = ("needs", "provides")
_TEXTS = ("name", "title", "sentence", "source", "headline", "network", "x_unit", "unit", "scale", "colour")

Answer = dict[str, Any]


@runtime_checkable
class _Spec(Protocol):
    """The part of `Spec` that is needed here; `spec` itself imports the registry, which imports this module."""

    @property
    def parts(self) -> Iterable[Component]: ...

    def to_dict(self) -> dict[str, Any]: ...


def ask_files(files: Sequence[tuple[str, str]]) -> list[Answer]:
    """Return ``components`` and ``modules``, or ``error``, for each file, by path and checksum. Raises ConfigError."""
    answers: list[Answer] = _ask({"files": files})
    return answers


def ask_installed(components: Sequence[tuple[str, str]]) -> list[Answer]:
    """The same for components of installed packages, by key and name. Raises ConfigError."""
    answers: list[Answer] = _ask({"files": [], "installed": components})
    return answers


def component_from(described: Mapping[str, Any], modules: tuple[Module, ...] = ()) -> Component:
    """Return a description from the child's answer; its functions ask the child. Raises ConfigError for a bad type."""
    key = described["key"]
    values = {name: value for name, value in described.items() if name not in ("key", "fields", "functions")}
    _check(f"{key} {values.get('name')}", values)
    if key == "metrics" and values["name"] in COLUMNS:
        raise ConfigError(f"metric {values['name']}: records have a column of that name; rename it")
    values |= {name: tuple(values[name]) for name in _LISTS if name in values}
    values |= {name: frozenset(values[name]) for name in _SETS if name in values}
    values |= {name: partial(_call, key, values["name"], name, modules) for name in described["functions"]}
    return KINDS[key](**values, fields=fields_of(values["name"], described["fields"]), modules=modules)


def _check(named: str, values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a value of the wrong type for its field."""
    for name, value in values.items():
        if name in _TEXTS and (not isinstance(value, str) or (name == "name" and not value)):
            raise ConfigError(f"{named}: {name} is {value!r}; it should be text")
        if name in _LISTS and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            raise ConfigError(f"{named}: {name} is {value!r}; it should be a tuple of names")
        if name in _SETS and not (isinstance(value, list) and set(value) <= set(get_args(Need))):
            raise ConfigError(
                f"{named}: {name} is {value!r}; it should be a set of some of {', '.join(get_args(Need))}"
            )


def _call(key: str, name: str, field: str, modules: tuple[Module, ...], *arguments: Any) -> Any:
    """Call a function of a description in the child."""
    files = dict.fromkeys([(one.path, one.sha256) for one in modules[:1]])
    for spec in (one for one in arguments if isinstance(one, _Spec)):
        files |= dict.fromkeys((part.modules[0].path, part.modules[0].sha256) for part in spec.parts if part.modules)
    sent = json.dumps([_as_json(one) for one in arguments])
    return _from_json(_called(key, name, field, tuple(files), sent), field)


@lru_cache(maxsize=65536)
def _called(key: str, name: str, field: str, files: tuple[tuple[str, str], ...], arguments: str) -> Any:
    call = {"key": key, "name": name, "field": field, "arguments": json.loads(arguments)}
    return _ask({"files": files, "call": call})


def _as_json(value: Any) -> Any:
    if isinstance(value, _Spec):
        return {"spec": value.to_dict()}
    return {"fields": dict(value)} if isinstance(value, Fields) else value


def _from_json(value: Any, field: str) -> Any:
    if field == "shapes":
        return tuple(value[0]), value[1]
    return Size(**value) if field == "size" else value


class _Process:
    """The child process."""

    def __init__(self) -> None:
        if _INSIDE in os.environ:
            raise ConfigError("a component runs lop while it is imported; take that out of its file")
        self._errors = TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lop_engine.experiment.describe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {_INSIDE: "1"},
            start_new_session=True,  # so that processes that it started can be ended too
        )
        self._pending = b""

    def ask(self, request: Mapping[str, Any]) -> Answer | None:
        """Return its answer; None if it has ended because it was not asked for a while. Raises ConfigError."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        begun = ""
        while (line := self._line(begun)) is not None:
            answer: Answer = json.loads(line)
            if "begin" not in answer:
                return answer
            begun = answer["begin"]
        status = self._process.wait()
        if not begun and status == 0:
            return None
        self._errors.seek(0)
        last = self._errors.read()[-4096:].decode(errors="replace").strip().splitlines()[-1:]
        why = f"ended by signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        raise ConfigError(f"{begun or 'lop_engine.experiment.describe'}: {(last or [why])[0]}")

    def _line(self, begun: str) -> bytes | None:
        """Return the child's next line; None if it has ended. Raises ConfigError after the time limit."""
        assert self._process.stdout
        number, limit_s = self._process.stdout.fileno(), LIMIT_S if begun else START_S
        until = time.monotonic() + limit_s
        while b"\n" not in self._pending:
            if not select.select([number], [], [], max(0, until - time.monotonic()))[0]:
                self.close()
                raise ConfigError(f"{begun or 'lop_engine.experiment.describe'}: not done after {limit_s:g} s")
            block = os.read(number, 2**16)
            if not block:
                return None
            self._pending += block
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def close(self) -> None:
        """End it, and the processes that it started."""
        with suppress(OSError):  # it has already ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe:
                with suppress(OSError):
                    pipe.close()


_process: _Process | None = None


def _ask(request: Mapping[str, Any]) -> Any:
    """Return the answer of a child that has not imported other versions of a file. Raises ConfigError, or its error."""
    global _process
    while True:
        is_new = _process is None
        _process = _process or _Process()
        try:
            answer = _process.ask(request)
        except BaseException:
            close()
            raise
        if answer is not None and "stale" not in answer:
            break
        close()
        if is_new:
            raise ConfigError("lop_engine.experiment.describe: ended without an answer; install lop again")
    if "refused" in answer:
        kind = getattr(errors, answer["kind"], UserError)
        raise kind(answer["refused"])
    if "error" in answer:
        call = request.get("call", {})
        raise ConfigError(f"{call.get('key', '')} {call.get('name', '')}: {call.get('field', '')}: {answer['error']}")
    return answer["answer"]


def close() -> None:
    """End the child, if there is one."""
    global _process
    if _process:
        _process.close()
        _process = None


atexit.register(close)
