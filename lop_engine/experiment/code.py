"""Imports the code of a component: by the name in its description, or from a user's own file."""

import ast
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from lop_engine.experiment.components import Component
from lop_engine.files import source_checksum

_LOP = [Path(__file__).parents[2] / name for name in ("lop_engine", "lop_tui")]

_PREFIX = "lop_own_"
"""Prefix of the names of modules that are users' files."""


def load(component: Component) -> Any:
    """Return the object that a description's `code` names or holds, imported if necessary."""
    return load_name(component.code) if isinstance(component.code, str) else component.code


def load_name(code: str) -> Any:
    """Import ``module:attribute``."""
    module, _, attribute = code.partition(":")
    return getattr(import_module(module), attribute)


def import_file(path: Path) -> ModuleType:
    """Execute a file as a module; modules that it imports are also searched in its directory.

    Modules in the directories of other files are unloaded first, so that each file imports its own. The working
    directory and the standard streams are left as they were.
    """
    name = f"{_PREFIX}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    _forget_modules_beside_others(path.parent)
    module = module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        with _undisturbed():
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _forget_modules_beside_others(directory: Path) -> None:
    mains = [one for name, one in sys.modules.items() if name.startswith(_PREFIX)]
    others = {Path(str(one.__file__)).parent for one in mains} - {directory}
    files = {name: getattr(one, "__file__", None) or "" for name, one in sys.modules.items()}
    forgotten = _beside(others, files.values())
    for name, file in files.items():
        if file in forgotten and not name.startswith(_PREFIX):
            del sys.modules[name]


def _beside(directories: Iterable[Path], files: Iterable[str]) -> set[str]:
    """Return the loaded modules' files in or below one of the directories that belong to a user."""
    not_own = (Path(sys.prefix), Path(sys.base_prefix), *_LOP)
    below, elsewhere = (tuple(os.path.join(one, "") for one in group) for group in (directories, not_own))
    return {file for file in files if file.startswith(below) and not file.startswith(elsewhere)}


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore the working directory and the standard streams afterwards: a worker uses them for reading and logging.

    No byte code is written: Python would use it for a file that was changed within the same second, if its size is
    the same.
    """
    directory, streams, writes_none = os.getcwd(), (sys.stdout, sys.stderr), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    copies = [os.dup(number) for number in (1, 2)]
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none
        os.chdir(directory)
        for number, copy in zip((1, 2), copies, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", closefd=False) if stream is None or stream.closed else stream
            for number, stream in zip((1, 2), streams, strict=True)
        )


def own_descriptions(module: ModuleType) -> list[Component]:
    """Return the descriptions that a module defines, in order; not those that it imports."""
    from lop_engine.experiment.registry import known_kind

    components = {id(value): value for value in vars(module).values() if isinstance(value, Component)}
    return [one for one in components.values() if not known_kind(one).holds(one)]


def siblings(module: ModuleType, imported: Iterable[ModuleType]) -> Iterator[dict[str, str]]:
    """Return the file of a module, and the files in its directory that it imports, directly or not, with checksums.

    Args:
        imported: modules imported while the file was executed: it may have imported them without an
            import statement.
    """
    main = Path(str(module.__file__))
    names = [getattr(one, "__file__", None) for one in imported if not one.__name__.startswith(_PREFIX)]
    files = {Path(name) for name in names if name} | _imports(main, main.parent)
    beside = _beside([main.parent], [str(path) for path in files - {main} if path.suffix == ".py"])
    for path in (main, *sorted(map(Path, beside))):
        yield {"path": str(path), "sha256": source_checksum(path.read_bytes())}


def _imports(main: Path, top: Path) -> set[Path]:
    """Return the files below `top` that a file imports, directly or not."""
    files, pending = {main}, [main]
    while pending:
        path = pending.pop()
        new = {one for one in _imported_by(path, top) if one.is_file()} - files
        files |= new
        pending += new
    return files


def _imported_by(path: Path, top: Path) -> Iterator[Path]:
    """Yield the paths where modules that a file imports might be."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _places(top, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1] if 0 < node.level <= len(path.parents) else top
            if node.level:
                yield base / "__init__.py"
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _places(base, [*parts, alias.name])


def _places(base: Path, parts: Sequence[str]) -> Iterator[Path]:
    for number in range(1, len(parts) + 1):
        place = base.joinpath(*parts[:number])
        yield place.with_suffix(".py")
        yield place / "__init__.py"


def place_in_own_file(error: BaseException) -> str:
    """Return the innermost line of a traceback in a file that `import_file` executed, or in one beside it.

    The format is ``/home/me/my_method.py, line 31: ``; empty if there is none.
    """
    files = [Path(str(one.__file__)) for name, one in sys.modules.items() if name.startswith(_PREFIX)]
    directories = {file.parent for file in files}
    trace, place = error.__traceback__, ""
    while trace:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.parent in directories:
            place = f"{file}, line {trace.tb_lineno}: "
        trace = trace.tb_next
    return place
