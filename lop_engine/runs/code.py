"""The source files of a run's own components, and the copies of them in the run directory.

The entry ``files`` of run.json holds, for each named file, the file and the modules beside it that it imports, with
their checksums. Only commands that train, and workers, execute these files.
"""

import difflib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lop_engine import NUMERICS
from lop_engine.errors import ConfigError, LaunchError, StoreError
from lop_engine.experiment.code import import_file, own_descriptions
from lop_engine.experiment.component_files import describe_files, register
from lop_engine.experiment.registry import known_kind
from lop_engine.experiment.spec import Spec, validate
from lop_engine.files import source_checksum
from lop_engine.runs.directory import RunDir, numerics_of
from lop_engine.text import plain

CHECKOUT = Path(__file__).parents[2]
COPIES = "code"
"""The subdirectory of a run that holds the copies."""
_MOST_LINES, _LONGEST_CHANGE = 3, 120
"""Most lines and characters of a change that a message shows."""

Files = list[list[dict[str, str]]]


@dataclass(frozen=True)
class CodeFile:
    """A file to execute."""

    path: Path
    sha256: str


def files_of(spec: Spec) -> Files:
    """Return the entry ``files`` of run.json for a spec's components."""
    groups = dict.fromkeys(one.modules for one in spec.components if one.modules)
    return [[{"path": module.path, "sha256": module.sha256} for module in group] for group in groups]


def keep_copies(run_dir: RunDir, files: Files) -> None:
    """Copy the files into the run directory. Raises OSError."""
    for index, group in enumerate(files):
        for one, copy in zip(group, copies_of(run_dir, index, group), strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one["path"], copy)


@cache
def checkout_state() -> dict[str, Any]:
    """Return the commit of lop's checkout and whether files differ from it; empty for an installed lop."""
    if not (CHECKOUT / ".git").exists():
        return {}
    try:
        commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(changes)}


def _git(*words: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def check_numerics(run_dir: RunDir, config: Mapping[str, Any]) -> None:
    """Refuse a run trained by a version of lop with different numerics. Raises LaunchError."""
    if numerics_of(config) != NUMERICS:
        raise LaunchError(
            f"{run_dir.name}: began with a version of lop whose numbers differ (numerics {numerics_of(config)}, now "
            f"{NUMERICS}); resume with that version, train under another name, or choose --accept-code-change"
        )


def code_files(run_dir: RunDir, config: Mapping[str, Any]) -> list[CodeFile]:
    """Return the files to execute for a run: the copies if the originals are gone, or if the user chose them.

    Raises:
        LaunchError: a file, or lop's numerics, have changed since the run began; shows the change.
    """
    check_numerics(run_dir, config)
    files = []
    for index, group in enumerate(files_in(config)):
        copies = copies_of(run_dir, index, group)
        if config.get("use_stored_code") or not Path(group[0]["path"]).exists():
            files.append(_copy(run_dir, group, copies))
            continue
        for one, copy in zip(group, copies, strict=True):
            if checksum_of(Path(one["path"])) != one["sha256"]:
                raise LaunchError(
                    f"{run_dir.name}: {one['path']} has changed since the run began{_change(copy, Path(one['path']))}; "
                    "put it back, train under another name, or choose --use-stored-code or --accept-code-change"
                )
        files.append(CodeFile(Path(group[0]["path"]), group[0]["sha256"]))
    return files


def refuse_other_files(run_dir: RunDir, config: Mapping[str, Any], spec: Spec) -> None:
    """Refuse a run whose code has changed, or whose experiment file now names different code. Raises LaunchError."""
    code_files(run_dir, config)
    ours, theirs = files_of(spec), files_in(config)
    if config.get("use_stored_code") or _checksums(ours) == _checksums(theirs):
        return
    names, earlier = (", ".join(group[0]["path"] for group in files) for files in (ours, theirs))
    raise LaunchError(
        f"{run_dir.name}: began with {earlier}, and its experiment file now names other code ({names}); name the file "
        "that it began with, train under another name, or choose --use-stored-code"
    )


def begun_with(run_dir: RunDir) -> tuple[str, ...]:
    """Return checksums of the files that a run must be trained with; empty if it has none or does not exist yet."""
    try:
        return _checksums(files_in(run_dir.read_config()))
    except (StoreError, OSError):
        return ()


def _checksums(files: Files) -> tuple[str, ...]:
    return tuple(one["sha256"] for group in files for one in group)


def spec_to_train(run_dir: RunDir) -> Spec:
    """Return a run's spec, after describing its own components. Raises StoreError, ConfigError, LaunchError."""
    files = code_files(run_dir, run_dir.read_config())
    describe_files(file.path for file in files)
    for file in files:
        register(file.path, file.sha256, replace=True)
    return validate(run_dir.read_spec(), str(run_dir.run_json))


def load_components(files: Sequence[CodeFile]) -> None:
    """Execute files, so that this process can train their components. Raises ConfigError."""
    process = os.getpid()
    for file in files:
        try:
            module = import_file(file.path)
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{file.path}: cannot be imported: {type(error).__name__}: {error}") from error
        if os.getpid() != process:
            os._exit(0)  # a fork of this process that the file made must not train
        for one in own_descriptions(module):
            known_kind(one).add(one)


def is_changed(config: Mapping[str, Any]) -> bool:
    """Whether a file in run.json has changed since the run began. Raises StoreError."""
    return any(checksum_of(Path(one["path"])) != one["sha256"] for group in files_in(config) for one in group)


def files_in(config: Mapping[str, Any]) -> Files:
    """Return the files in run.json. Raises StoreError if they are malformed."""
    files = config.get("files", [])
    try:
        if all(group and all(Path(one["path"]) and str(one["sha256"]) for one in group) for group in files):
            return files if isinstance(files, list) else []
    except (TypeError, KeyError):
        pass
    name = "/".join(str(config.get(key)) for key in ("experiment", "setting", "seed"))
    raise StoreError(f'run.json of {name}: "files" is not what it should be; restore it from a backup')


def copies_of(run_dir: RunDir, index: int, group: Sequence[Mapping[str, str]]) -> list[Path]:
    """Return the paths of a group's copies, which keep their positions relative to the first file."""
    top = Path(group[0]["path"]).parent
    relative = [Path(one["path"]).relative_to(top) for one in group]
    if any(".." in one.parts for one in relative):
        raise LaunchError(f"{run_dir.run_json}: names a file outside the directory of its component; restore run.json")
    return [run_dir.path / COPIES / str(index) / one for one in relative]


def _copy(run_dir: RunDir, group: Sequence[Mapping[str, str]], copies: Sequence[Path]) -> CodeFile:
    for one, copy in zip(group, copies, strict=True):
        if checksum_of(copy) != one["sha256"]:
            raise LaunchError(f"{run_dir.name}: {copy}: missing or changed, and so is {one['path']}; put either back")
    return CodeFile(copies[0].absolute(), group[0]["sha256"])


def checksum_of(path: Path) -> str:
    """Return the checksum of a file; "" if it cannot be read."""
    try:
        return source_checksum(path.read_bytes())
    except OSError:
        return ""


def _change(before: Path, after: Path) -> str:
    """Return the first changed lines: `` (line 12: "x < 1" is now "x > 1")``; "" if a file cannot be read."""
    change = changed_lines(before, after)
    return f' (line {change[0]}: "{change[1]}" is now "{change[2]}")' if change else ""


def changed_lines(before: Path, after: Path) -> tuple[int, str, str] | None:
    """Return number and text of the first differing lines of two files; None if there are none or one is unreadable."""
    try:
        old, new = before.read_text(encoding="utf-8").splitlines(), after.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for kind, first, last, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            return first + 1, _in_one_line(old[first:last]), _in_one_line(new[start:end])
    return None


def _in_one_line(lines: Sequence[str]) -> str:
    text = plain(" / ".join(line.strip() for line in lines[:_MOST_LINES]))
    return text if len(text) <= _LONGEST_CHANGE else f"{text[:_LONGEST_CHANGE]}..."


def damaged_copies(run_dir: RunDir) -> list[Path]:
    """Return the copies of a run's files that are missing or changed. Raises LaunchError, StoreError."""
    return [
        copy
        for index, group in enumerate(files_in(run_dir.read_config()))
        for one, copy in zip(group, copies_of(run_dir, index, group), strict=True)
        if checksum_of(copy) != one["sha256"]
    ]


def stored_sources(run_dir: RunDir) -> dict[str, str]:
    """Return the text of each copied file by name; unreadable ones are left out. Executes nothing.

    Names are relative to the file that describes the component: ``my_redo.py``, ``parts/helper.py``.
    """
    sources = {}
    with suppress(StoreError, LaunchError, OSError, TypeError, KeyError, ValueError):
        for index, group in enumerate(files_in(run_dir.read_config())):
            top = run_dir.path / COPIES / str(index)
            for copy in copies_of(run_dir, index, group):
                with suppress(OSError, UnicodeDecodeError):
                    sources[copy.relative_to(top).as_posix()] = copy.read_text(encoding="utf-8")
    return sources
