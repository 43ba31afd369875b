"""The code of a component: found by the name in its description, or in a user's own file."""

import hashlib
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from lop_engine.experiment.components import Component

_PREFIX = "lop_own_"
"""Of the names of modules that are users' files."""


def load(component: Component) -> Any:
    """What a description's `code` names, imported; or is."""
    return load_name(component.code) if isinstance(component.code, str) else component.code


def load_name(code: str) -> Any:
    """Import ``module:attribute``."""
    module, _, attribute = code.partition(":")
    return getattr(import_module(module), attribute)


def import_file(path: Path) -> ModuleType:
    """Execute a file as a module; its directory is searched for modules that it imports."""
    name = f"{_PREFIX}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def own_descriptions(module: ModuleType) -> list[Component]:
    """The descriptions that a module makes, in its order; not those that it imports, which are known already."""
    from lop_engine.experiment.registry import known_kind

    found = {id(value): value for value in vars(module).values() if isinstance(value, Component)}
    return [one for one in found.values() if not known_kind(one).holds(one)]


def siblings(module: ModuleType) -> Iterator[dict[str, str]]:
    """The file of a module, and those of the modules in its directory that it has imported, with their checksums."""
    main = Path(str(module.__file__))
    files = {Path(one.__file__) for one in list(sys.modules.values()) if getattr(one, "__file__", None)}  # type: ignore[arg-type]
    installed = {Path(sys.prefix), Path(sys.base_prefix)}
    others = sorted(
        path
        for path in files
        if main.parent in path.parents and path != main and path.suffix == ".py" and installed.isdisjoint(path.parents)
    )
    for path in (main, *others):
        yield {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def place_in_own_file(error: BaseException) -> str:
    """The innermost line of a traceback in a file that `import_file` executed, or in one beside it.

    ``/home/me/my_method.py, line 31: ``, or empty if there is none.
    """
    files = [Path(str(one.__file__)) for name, one in sys.modules.items() if name.startswith(_PREFIX)]
    directories = {file.parent for file in files}
    trace, found = error.__traceback__, ""
    while trace:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.parent in directories:
            found = f"{file}, line {trace.tb_lineno}: "
        trace = trace.tb_next
    return found
