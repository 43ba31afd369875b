"""The experiment files that come with lop, by name: ``snp``, ``demo/bp``."""

import json
from collections.abc import Mapping
from pathlib import Path

from lop_engine.errors import ConfigError, did_you_mean

DIRECTORY = Path(__file__).parents[1] / "configs"


def shipped() -> Mapping[str, Path]:
    """Every experiment file that comes with lop, by name."""
    files = {path.relative_to(DIRECTORY).with_suffix("").as_posix(): path for path in DIRECTORY.rglob("*.json")}
    return dict(sorted(files.items(), key=lambda item: ("/" in item[0], item[0])))


def comment(path: Path) -> str:
    """What an experiment file says of itself, in a line."""
    text = json.loads(path.read_text()).get("_comment", "")
    return str(text)


def find_config(typed: Path, notes: list[str] | None = None) -> Path:
    """The experiment file that was typed: a path, or the name of one that comes with lop.

    A file in the working directory wins over one of the same name that comes with lop; then a note says so.

    Raises:
        ConfigError: there is neither.
    """
    name = typed.as_posix().removeprefix("./")
    if typed.exists() or name not in shipped():
        if typed.exists() or typed.suffix:
            return typed
        here = typed.with_name(typed.name + ".json")
        if here.exists():
            return here
        raise ConfigError(f"{typed}: no such file{did_you_mean(name, [*shipped(), *_names_beside(typed)])}")
    here = typed.with_name(typed.name + ".json")
    if here.exists():
        if notes is not None:
            notes.append(f"{here}: this file is used, not the experiment {name} that comes with lop")
        return here
    return shipped()[name]


def _names_beside(typed: Path) -> list[str]:
    return [path.with_suffix("").as_posix() for path in typed.parent.glob("*.json")] if typed.parent.is_dir() else []
