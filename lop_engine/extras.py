"""Optional packages: how to install them into this installation of lop."""

import sys
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path
from shutil import which

DISTRIBUTION = "lop-lab"
"""lop's name on package indexes; ``lop`` is a different project there."""


def install_hint(extra: str) -> str:
    """Return the command that installs an optional feature: ``python -m pip install 'pyarrow>=15'``."""
    packages = " ".join(f"'{one}'" for one in _needed_by(extra)) or extra
    prefix = Path(sys.prefix)
    if "pipx" in prefix.parts:
        return f"pipx inject {DISTRIBUTION} {packages}"
    if find_spec("pip"):
        return f"{python()} -m pip install {packages}"
    return f"uv pip install --python {prefix} {packages}"


def _needed_by(extra: str) -> list[str]:
    """Return the requirements of an extra, without their markers."""
    try:
        requirements = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []
    named = (one.partition(";") for one in requirements)
    return [
        requirement.strip().replace(" ", "")
        for requirement, _, marker in named
        if marker.strip().replace('"', "'") == f"extra == '{extra}'"
    ]


def python() -> str:
    """Return the command for this interpreter: ``python`` if that starts it."""
    on_path = which("python")
    return "python" if on_path and Path(on_path).parent == Path(sys.executable).parent else sys.executable
