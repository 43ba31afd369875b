"""The files of a run's own components: which to execute, and the copies of them beside its records.

run.json holds ``files``: for each file that was named, itself and the modules beside it that it imports, with their
checksums. Only commands that train, and workers, execute them.
"""

import difflib
import os
import shutil
import subprocess
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from lop_engine import NUMERICS
from lop_engine.errors import ConfigError, LaunchError, StoreError
from lop_engine.experiment.code import import_file, own_descriptions
from lop_engine.experiment.component_files import describe_files, register
from lop_engine.experiment.registry import known_kind
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec, validate
from lop_engine.files import source_checksum
from lop_engine.runs.directory import RunDir, code_of, find_seeds, numerics_of, versions_of, write_json
from lop_engine.runs.locks import hold
from lop_engine.runs.records import ENDED
from lop_engine.text import plain

CHECKOUT = Path(__file__).parents[2]
_COPIES = "code"
"""The directory in a run's that holds the copies."""
_MOST_LINES, _LONGEST_CHANGE = 3, 120
"""Lines and characters of a change that a message shows."""

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
    groups = dict.fromkeys(one.modules for one in spec.components if one.modules)
    return [[{"path": module.path, "sha256": module.sha256} for module in group] for group in groups]


def keep_copies(run_dir: RunDir, files: Files) -> None:
    """Copy the files into the run directory. Raises OSError."""
    for index, group in enumerate(files):
        for one, copy in zip(group, _copies(run_dir, index, group), strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one["path"], copy)


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


def refuse_other_files(run_dir: RunDir, config: Mapping[str, Any], spec: Spec) -> None:
    """Refuse a run whose code has changed, or whose experiment file now names other code. Raises LaunchError."""
    code_files(run_dir, config)
    ours, theirs = files_of(spec), _files(config)
    if config.get("use_stored_code") or _checksums(ours) == _checksums(theirs):
        return
    names, earlier = (", ".join(group[0]["path"] for group in files) for files in (ours, theirs))
    raise LaunchError(
        f"{run_dir.name}: began with {earlier}, and its experiment file now names other code ({names}); name the file "
        "that it began with, train under another name, or choose --use-stored-code"
    )


def begun_with(run_dir: RunDir) -> tuple[str, ...]:
    """Checksums of the files that a run is to be trained with; empty for a run that has none, or is not made yet."""
    try:
        return _checksums(_files(run_dir.read_config()))
    except (StoreError, OSError):
        return ()


def _checksums(files: Files) -> tuple[str, ...]:
    return tuple(one["sha256"] for group in files for one in group)


def spec_to_train(run_dir: RunDir) -> Spec:
    """The spec of a run, whose own components are described first. Raises StoreError, ConfigError, LaunchError."""
    files = code_files(run_dir, run_dir.read_config())
    describe_files(file.path for file in files)
    for file in files:
        register(file.path, file.sha256, replace=True)
    return validate(run_dir.read_spec(), str(run_dir.run_json))


def load_components(files: Sequence[CodeFile]) -> None:
    """Execute files, so that their components can be trained in this process. Raises ConfigError."""
    process = os.getpid()
    for file in files:
        try:
            module = import_file(file.path)
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{file.path}: cannot be imported: {type(error).__name__}: {error}") from error
        if os.getpid() != process:
            os._exit(0)  # a copy of this process that the file has forked must not train
        for one in own_descriptions(module):
            known_kind(one).add(one)


def settle_code(run_dirs: Iterable[RunDir], choice: Choice) -> list[RunDir]:
    """Do what a person chose for runs whose code has changed since they began; nothing for other runs.

    ``refuse`` refuses them, also those that have ended: new seeds beside them would be of other code. A run that failed
    before it began to train, because its component breaks a rule, takes the code as it is now. ``accept`` writes the
    new checksums and copies, and keeps the earlier ones; ``stored`` lets the run go on with its copies. Neither touches
    a run that has ended.

    Returns:
        The unfinished runs that were begun by a version of lop that did not record its code. All of those computed the
        numbers of `numerics` 1.
    Raises:
        LaunchError: the code of a run has changed, and that is refused; or a file to accept is gone.
        LockedError: another process trains or changes a run.
    """
    unrecorded = []
    for run_dir in run_dirs:
        if not run_dir.run_json.exists():
            continue
        config = run_dir.read_config()
        if choice == "refuse" and not _may_take_other_code(run_dir, config):
            code_files(run_dir, config)
        else:
            with hold(run_dir):
                if run_dir.read_status().state not in ENDED:
                    _settle(run_dir, "accept" if choice == "refuse" else choice)
        with suppress(StoreError):  # what is wrong with a status is reported where the run is queued
            if not {"code", "imported"} & config.keys() and run_dir.read_status().state not in ENDED:
                unrecorded.append(run_dir)
    return unrecorded


def _may_take_other_code(run_dir: RunDir, config: Mapping[str, Any]) -> bool:
    """Whether the files of a run have changed after it failed, and none of its setting's seeds has begun to train."""
    paths = [Path(group[0]["path"]) for group in _files(config)]
    if config.get("use_stored_code") or not all(path.exists() for path in paths) or not _is_changed(config):
        return False
    seeds = list(find_seeds(run_dir.path.parent))
    trained = (path for one in seeds for path in (one.checkpoint, one.previous_checkpoint, *one.records))
    return run_dir.read_status().state == "failed" and not any(path.exists() for path in trained)


def _settle(run_dir: RunDir, choice: Choice) -> None:
    """Accept the code of a run as it is now, or take its copies. The run's lock must be held. Raises LaunchError."""
    config = run_dir.read_config()
    _restore_copies(run_dir, config)
    if choice == "stored":
        if _is_changed(config):
            write_json(run_dir.run_json, {**config, "use_stored_code": True}, durable=True)
        return
    if numerics_of(config) != NUMERICS:
        config = _with_numerics(config)
        write_json(run_dir.run_json, config, durable=True)
    if not _is_changed(config):
        if config.get("use_stored_code"):  # the file is as it was: from now on it is watched again
            write_json(run_dir.run_json, {**config, "use_stored_code": False}, durable=True)
        return
    gone = [group[0]["path"] for group in _files(config) if not Path(group[0]["path"]).exists()]
    if gone:
        raise LaunchError(f"{run_dir.name}: {gone[0]} is gone; choose --use-stored-code, or put it back")
    files = [_as_it_is(Path(group[0]["path"])) for group in _files(config)]
    earlier = [*config.get("earlier_files", []), config["files"]]
    (run_dir.path / _COPIES).rename(_earlier_copies(run_dir, len(earlier)))
    keep_copies(run_dir, files)
    accepted = {"files": files, "earlier_files": earlier, "use_stored_code": False}
    write_json(run_dir.run_json, config | accepted, durable=True)


def _restore_copies(run_dir: RunDir, config: Mapping[str, Any]) -> None:
    """Put the copies back that an acceptance set aside, if a kill came before it was written to run.json."""
    kept = _earlier_copies(run_dir, len(config.get("earlier_files", [])) + 1)
    if kept.exists():
        shutil.rmtree(run_dir.path / _COPIES, ignore_errors=True)
        kept.rename(run_dir.path / _COPIES)


def _earlier_copies(run_dir: RunDir, number: int) -> Path:
    return run_dir.path / f"{_COPIES}.earlier-{number}"


def refuse_beside_other_code(runs_dir: Path, runs: Iterable[Run]) -> None:
    """Refuse new seeds of a setting of which other seeds were trained by different code. Raises LaunchError."""
    first_of_setting: dict[Path, tuple[RunDir, Run]] = {}
    for run in runs:
        run_dir = RunDir.of(runs_dir, run)
        if run_dir.path.parent not in first_of_setting and not run_dir.run_json.exists():
            first_of_setting[run_dir.path.parent] = run_dir, run
    for setting, (run_dir, run) in first_of_setting.items():
        ours = {"code": {"numerics": NUMERICS}, "files": files_of(run.spec)}
        for other in find_seeds(setting):
            theirs = other.read_config()
            if "imported" not in theirs and versions_of(code_of(theirs)) != versions_of(code_of(ours)):
                names = ", ".join(dict.fromkeys(name for name, _ in set(code_of(theirs)) ^ set(code_of(ours))))
                raise LaunchError(
                    f"{run_dir.name}: {other.name} was trained by different code ({names}), and a mean over both would "
                    "mean nothing; put the code back, train under another name, or choose --accept-code-change"
                )


def _with_numerics(config: Mapping[str, Any]) -> dict[str, Any]:
    code = config.get("code", {})
    earlier = [*code.get("earlier_numerics", []), numerics_of(config)]
    return {**config, "code": {**code, "numerics": NUMERICS, "earlier_numerics": earlier}}


def _is_changed(config: Mapping[str, Any]) -> bool:
    return any(_sha256(Path(one["path"])) != one["sha256"] for group in _files(config) for one in group)


def _as_it_is(path: Path) -> list[dict[str, str]]:
    """A file, and the modules that it imports, with their present checksums. Raises ConfigError."""
    [first, *_] = register(path, _sha256(path), replace=True)
    return [{"path": module.path, "sha256": module.sha256} for module in first.modules]


def _files(config: Mapping[str, Any]) -> Files:
    """The files in a run.json. Raises StoreError if they are not well-formed."""
    files = config.get("files", [])
    try:
        if all(group and all(Path(one["path"]) and str(one["sha256"]) for one in group) for group in files):
            return files if isinstance(files, list) else []
    except (TypeError, KeyError):
        pass
    name = "/".join(str(config.get(key)) for key in ("experiment", "setting", "seed"))
    raise StoreError(f'run.json of {name}: "files" is not what it should be; restore it from a backup')


def _copies(run_dir: RunDir, index: int, group: Sequence[Mapping[str, str]]) -> list[Path]:
    """Where the copies of a group are: as the files lie about the first of them."""
    top = Path(group[0]["path"]).parent
    relative = [Path(one["path"]).relative_to(top) for one in group]
    if any(".." in one.parts for one in relative):
        raise LaunchError(f"{run_dir.run_json}: names a file outside the directory of its component; restore run.json")
    return [run_dir.path / _COPIES / str(index) / one for one in relative]


def _copy(run_dir: RunDir, group: Sequence[Mapping[str, str]], copies: Sequence[Path]) -> CodeFile:
    for one, copy in zip(group, copies, strict=True):
        if _sha256(copy) != one["sha256"]:
            raise LaunchError(f"{run_dir.name}: {copy}: missing or changed, and so is {one['path']}; put either back")
    return CodeFile(copies[0].absolute(), group[0]["sha256"])


def _sha256(path: Path) -> str:
    try:
        return source_checksum(path.read_bytes())
    except OSError:
        return ""


def _change(before: Path, after: Path) -> str:
    """The first changed lines: `` (line 12: "x < 1" is now "x > 1")``; empty if a file cannot be read."""
    found = _changed_lines(before, after)
    return f' (line {found[0]}: "{found[1]}" is now "{found[2]}")' if found else ""


def _changed_lines(before: Path, after: Path) -> tuple[int, str, str] | None:
    """Number and text of the first lines in which two files differ; None if there are none or a file is unreadable."""
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


@lru_cache(maxsize=1024)
def code_difference(one: RunDir, other: RunDir, state: Hashable) -> str:
    """In what the code of two runs differs: ``my_redo.py, line 12: "x < 1" and "x > 1"``. Executes nothing.

    Args:
        state: answers are remembered for as long as it stays the same.
    """
    try:
        configs = one.read_config(), other.read_config()
        found = [*_different_numerics(*map(_all_numerics, configs)), *_different_files((one, other), configs)]
    except (StoreError, LaunchError, OSError, TypeError, KeyError, ValueError, AttributeError):
        return "run.json says no more"
    return "; ".join(found)


def damaged_copies(run_dir: RunDir) -> list[Path]:
    """The copies of a run's files that are missing or not what the run began with. Raises LaunchError, StoreError."""
    return [
        copy
        for index, group in enumerate(_files(run_dir.read_config()))
        for one, copy in zip(group, _copies(run_dir, index, group), strict=True)
        if _sha256(copy) != one["sha256"]
    ]


def stored_sources(run_dir: RunDir) -> dict[str, str]:
    """By name, the text of each file that a run keeps a copy of; what cannot be read is left out. Executes nothing.

    Names are relative to the file that describes the component: ``my_redo.py``, ``parts/helper.py``.
    """
    found = {}
    with suppress(StoreError, LaunchError, OSError, TypeError, KeyError, ValueError):
        for index, group in enumerate(_files(run_dir.read_config())):
            top = run_dir.path / _COPIES / str(index)
            for copy in _copies(run_dir, index, group):
                with suppress(OSError, UnicodeDecodeError):
                    found[copy.relative_to(top).as_posix()] = copy.read_text(encoding="utf-8")
    return found


def _all_numerics(config: Mapping[str, Any]) -> list[int]:
    return [*config.get("code", {}).get("earlier_numerics", []), numerics_of(config)]


def _different_numerics(ours: Sequence[int], theirs: Sequence[int]) -> Iterator[str]:
    if ours != theirs:
        yield f"lop's own numerics {' then '.join(map(str, ours))} and {' then '.join(map(str, theirs))}"


def _different_files(run_dirs: Sequence[RunDir], configs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ours, theirs = (_by_name(*pair) for pair in zip(run_dirs, configs, strict=True))
    for name in dict.fromkeys([*ours, *theirs]):
        (our_sums, our_copy), (their_sums, their_copy) = (side.get(name, ([], None)) for side in (ours, theirs))
        if not our_sums or not their_sums:
            yield f"{name} in one of them alone"
        elif our_sums[-1] == their_sums[-1] and our_sums != their_sums:
            yield f"{name}, which was changed while one of them was trained"
        elif our_sums != their_sums:
            lines = _changed_lines(our_copy, their_copy) if our_copy and their_copy else None
            yield name + (f', line {lines[0]}: "{lines[1]}" and "{lines[2]}"' if lines else "")


def _by_name(run_dir: RunDir, config: Mapping[str, Any]) -> dict[str, tuple[list[str], Path]]:
    """By name of a file: its checksums, those of earlier versions first, and its copy."""
    sums: dict[str, list[str]] = {}
    for files in (*config.get("earlier_files", []), _files(config)):
        for one in (one for group in files for one in group):
            sums.setdefault(Path(one["path"]).name, []).append(one["sha256"])
    copies = {copy.name: copy for index, group in enumerate(_files(config)) for copy in _copies(run_dir, index, group)}
    return {name: (list(dict.fromkeys(sums[name])), copies[name]) for name in sums if name in copies}
