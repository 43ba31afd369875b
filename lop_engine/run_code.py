"""The files of a run's own components: which to execute, and the copies of them beside its records.

run.json holds ``files``: for each file that was named, itself and the modules beside it that it imports, with their
checksums. Only commands that train, and workers, execute them.
"""

import difflib
import hashlib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import copyfile
from typing import Any, Literal

from lop_engine import NUMERICS
from lop_engine.code import import_file, own_descriptions
from lop_engine.errors import ConfigError, LaunchError
from lop_engine.experiment.component_files import describe_files, register
from lop_engine.experiment.components import Component
from lop_engine.experiment.registry import METRICS, known_kind
from lop_engine.experiment.spec import Spec, validate
from lop_engine.locks import hold
from lop_engine.records import ENDED
from lop_engine.rundir import RunDir, numerics_of, write_json

CHECKOUT = Path(__file__).parents[1]

Files = list[list[dict[str, str]]]

Choice = Literal["refuse", "accept", "stored"]
"""What to do with a run whose files have changed since it began."""


@dataclass(frozen=True)
class CodeFile:
    """A file to execute."""

    path: Path
    sha256: str


def files_of(spec: Spec) -> Files:
    """What run.json says of the files of a spec's components."""
    components: list[Component] = [
        *spec.parts,
        *(METRICS[name] for name in (*spec.metrics, spec.parts.problem.headline)),
    ]
    groups = dict.fromkeys(one.modules for one in components if one.modules)
    return [[{"path": module.path, "sha256": module.sha256} for module in group] for group in groups]


def keep_copies(run_dir: RunDir, files: Files) -> None:
    """Copy the files into the run directory. Raises OSError."""
    for index, group in enumerate(files):
        for one, copy in zip(group, _copies(run_dir, index, group), strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copyfile(one["path"], copy)


@cache
def checkout_state() -> dict[str, Any]:
    """The commit of the checkout that lop runs from, and whether files differ from it; empty for an installed lop."""
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
    """Refuse a run of a version whose numbers differ from this one's. Raises LaunchError."""
    if numerics_of(config) != NUMERICS:
        raise LaunchError(
            f"{run_dir.name}: began with a version of lop whose numbers differ (numerics {numerics_of(config)}, now "
            f"{NUMERICS}); resume with that version, train under another name, or choose --accept-code-change"
        )


def code_files(run_dir: RunDir, config: Mapping[str, Any]) -> list[CodeFile]:
    """The files to execute for a run: the copies if the originals are gone, or if that was chosen.

    Raises:
        LaunchError: a file, or lop's own numbers, have changed since the run began; shows what.
    """
    check_numerics(run_dir, config)
    found = []
    for index, group in enumerate(_files(config)):
        copies = _copies(run_dir, index, group)
        if config.get("use_stored_code") or not Path(group[0]["path"]).exists():
            found.append(_copy(run_dir, group, copies))
            continue
        for one, copy in zip(group, copies, strict=True):
            if _sha256(Path(one["path"])) != one["sha256"]:
                raise LaunchError(
                    f"{run_dir.name}: {one['path']} has changed since the run began{_change(copy, Path(one['path']))}; "
                    "put it back, train under another name, or choose --use-stored-code or --accept-code-change"
                )
        found.append(CodeFile(Path(group[0]["path"]), group[0]["sha256"]))
    return found


def spec_to_train(run_dir: RunDir) -> Spec:
    """The spec of a run, whose own components are described first. Raises StoreError, ConfigError, LaunchError."""
    files = code_files(run_dir, run_dir.read_config())
    describe_files(file.path for file in files)
    for file in files:
        register(file.path, file.sha256)
    return validate(run_dir.read_spec(), str(run_dir.run_json))


def load_components(files: Sequence[CodeFile]) -> None:
    """Execute files, so that their components can be trained in this process. Raises ConfigError."""
    for file in files:
        try:
            module = import_file(file.path)
        except Exception as error:
            raise ConfigError(f"{file.path}: cannot be imported: {type(error).__name__}: {error}") from error
        for one in own_descriptions(module):
            known_kind(one).add(one)


def settle_code(run_dirs: Iterable[RunDir], choice: Choice) -> None:
    """Do what a person chose for runs whose code has changed since they began; nothing for other runs.

    ``refuse`` refuses them, also those that have ended: new seeds beside them would be of other code. ``accept`` writes
    the new checksums and copies, and keeps the earlier ones; ``stored`` lets the run go on with its copies. Neither
    touches a run that has ended.

    Raises:
        LaunchError: the code of a run has changed, and that is refused; or a file to accept is gone.
        LockedError: another process trains or changes a run.
    """
    for run_dir in run_dirs:
        if not run_dir.run_json.exists():
            continue
        if choice == "refuse":
            code_files(run_dir, run_dir.read_config())
            continue
        with hold(run_dir):
            if run_dir.read_status().state in ENDED:
                continue
            config = run_dir.read_config()
            if choice == "accept" and numerics_of(config) != NUMERICS:
                config = _with_numerics(config)
                write_json(run_dir.run_json, config, durable=True)
            if not _is_changed(config):
                continue
            if choice == "stored":
                write_json(run_dir.run_json, {**config, "use_stored_code": True}, durable=True)
                continue
            gone = [group[0]["path"] for group in _files(config) if not Path(group[0]["path"]).exists()]
            if gone:
                raise LaunchError(f"{run_dir.name}: {gone[0]} is gone; choose --use-stored-code, or put it back")
            files = [_as_it_is(Path(group[0]["path"])) for group in _files(config)]
            earlier = [*config.get("earlier_files", []), config["files"]]
            directory = run_dir.path / "code"
            if directory.exists():  # unless a kill came between this and run.json
                directory.rename(directory.with_name(f"code.earlier-{len(earlier)}"))
            keep_copies(run_dir, files)
            accepted = {"files": files, "earlier_files": earlier, "use_stored_code": False}
            write_json(run_dir.run_json, config | accepted, durable=True)


def _with_numerics(config: Mapping[str, Any]) -> dict[str, Any]:
    code = config.get("code", {})
    earlier = [*code.get("earlier_numerics", []), numerics_of(config)]
    return {**config, "code": {**code, "numerics": NUMERICS, "earlier_numerics": earlier}}


def _is_changed(config: Mapping[str, Any]) -> bool:
    return any(_sha256(Path(one["path"])) != one["sha256"] for group in _files(config) for one in group)


def _as_it_is(path: Path) -> list[dict[str, str]]:
    """A file, and the modules that it imports, with their present checksums. Raises ConfigError."""
    [first, *_] = register(path, _sha256(path))
    return [{"path": module.path, "sha256": module.sha256} for module in first.modules]


def _files(config: Mapping[str, Any]) -> Files:
    files = config.get("files")
    return files if isinstance(files, list) else []


def _copies(run_dir: RunDir, index: int, group: Sequence[Mapping[str, str]]) -> list[Path]:
    """Where the copies of a group are: as the files lie about the first of them."""
    top = Path(group[0]["path"]).parent
    return [run_dir.path / "code" / str(index) / Path(one["path"]).relative_to(top) for one in group]


def _copy(run_dir: RunDir, group: Sequence[Mapping[str, str]], copies: Sequence[Path]) -> CodeFile:
    for one, copy in zip(group, copies, strict=True):
        if _sha256(copy) != one["sha256"]:
            raise LaunchError(f"{run_dir.name}: {copy}: missing or changed, and so is {one['path']}; put either back")
    return CodeFile(copies[0].absolute(), group[0]["sha256"])


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _change(before: Path, after: Path) -> str:
    """The first changed lines: `` (line 12: "x < 1" is now "x > 1")``; empty if a file cannot be read."""
    try:
        old, new = before.read_text().splitlines(), after.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    for kind, first, last, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            ours, theirs = (
                " / ".join(line.strip() for line in lines[:3]) for lines in (old[first:last], new[start:end])
            )
            return f' (line {first + 1}: "{ours}" is now "{theirs}")'
    return ""
