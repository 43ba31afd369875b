"""``python -m lop_engine.describe FILE...``: import files of own components, and print their descriptions as JSON.

The only process beside a worker that executes such files. Its last line of output is the answer, for each file
``{"components": [...], "modules": [...]}`` or ``{"error": "..."}``.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from lop_engine.code import import_file, own_descriptions, siblings
from lop_engine.experiment.components import Component
from lop_engine.experiment.schema import schema_of

_NOT_TOLD = {"fields", "code", "modules", "also"}


def describe(path: Path) -> dict[str, Any]:
    """The descriptions in a file, and the files that they are made of."""
    try:
        module = import_file(path)
    except BaseException as error:  # a file may also exit
        return {"error": f"cannot be imported: {_in_one_line(error, path)}"}
    found = own_descriptions(module)
    if not found:
        return {"error": "describes no component; docs/own-components.md shows how"}
    return {"components": [_told(one) for one in found], "modules": list(siblings(module))}


def _told(one: Component) -> dict[str, Any]:
    return {"key": one.key, "fields": schema_of(one.fields)} | dict(_values(one))


def _values(one: Component) -> Iterator[tuple[str, Any]]:
    for field in dataclass_fields(one):
        value = getattr(one, field.name)
        if field.name in _NOT_TOLD or callable(value):
            continue
        yield field.name, sorted(value) if isinstance(value, frozenset) else value


def _in_one_line(error: BaseException, path: Path) -> str:
    """``line 7: NameError: name 'x' is not defined``, the line being the file's own."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace:
        if Path(trace.tb_frame.f_code.co_filename) == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"line {line}: " if line else ""
    return f"{where}{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")


def main() -> None:
    print(json.dumps([describe(Path(path)) for path in sys.argv[1:]]))


if __name__ == "__main__":
    main()
