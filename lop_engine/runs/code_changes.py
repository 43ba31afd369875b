"""Runs whose code has changed since they began: refuse them, accept the code as it is now, or take their copies."""

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from lop_engine import NUMERICS
from lop_engine.errors import LaunchError, StoreError
from lop_engine.experiment.component_files import register
from lop_engine.experiment.run import Run
from lop_engine.runs.code import COPIES, checksum_of, code_files, files_in, files_of, is_changed, keep_copies
from lop_engine.runs.directory import RunDir, code_of, find_seeds, numerics_of, versions_of, write_json
from lop_engine.runs.locks import hold
from lop_engine.runs.records import ENDED

Choice = Literal["refuse", "accept", "stored"]
"""What to do with a run whose files have changed since it began."""


def settle_code(run_dirs: Iterable[RunDir], choice: Choice) -> list[RunDir]:
    """Do what a person chose for runs whose code has changed since they began; nothing for other runs.

    ``refuse`` refuses them, also those that have ended: new seeds beside them would be of other code. A run that failed
    before it began to train, because its component breaks a rule, takes the code as it is now. ``accept`` writes the
    new checksums and copies, and keeps the earlier ones; ``stored`` lets the run resume with its copies. Neither
    touches a run that has ended.

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
    paths = [Path(group[0]["path"]) for group in files_in(config)]
    if config.get("use_stored_code") or not all(path.exists() for path in paths) or not is_changed(config):
        return False
    seeds = list(find_seeds(run_dir.path.parent))
    trained = (path for one in seeds for path in (one.checkpoint, one.previous_checkpoint, *one.records))
    return run_dir.read_status().state == "failed" and not any(path.exists() for path in trained)


def _settle(run_dir: RunDir, choice: Choice) -> None:
    """Accept the code of a run as it is now, or take its copies. The run's lock must be held. Raises LaunchError."""
    config = run_dir.read_config()
    _restore_copies(run_dir, config)
    if choice == "stored":
        if is_changed(config):
            write_json(run_dir.run_json, {**config, "use_stored_code": True}, durable=True)
        return
    if numerics_of(config) != NUMERICS:
        config = _with_numerics(config)
        write_json(run_dir.run_json, config, durable=True)
    if not is_changed(config):
        if config.get("use_stored_code"):  # the file is as it was: from now on it is watched again
            write_json(run_dir.run_json, {**config, "use_stored_code": False}, durable=True)
        return
    gone = [group[0]["path"] for group in files_in(config) if not Path(group[0]["path"]).exists()]
    if gone:
        raise LaunchError(f"{run_dir.name}: {gone[0]} is gone; choose --use-stored-code, or put it back")
    files = [_as_it_is(Path(group[0]["path"])) for group in files_in(config)]
    earlier = [*config.get("earlier_files", []), config["files"]]
    (run_dir.path / COPIES).rename(_earlier_copies(run_dir, len(earlier)))
    keep_copies(run_dir, files)
    accepted = {"files": files, "earlier_files": earlier, "use_stored_code": False}
    write_json(run_dir.run_json, config | accepted, durable=True)


def _restore_copies(run_dir: RunDir, config: Mapping[str, Any]) -> None:
    """Put the copies back that an acceptance set aside, if a kill came before it was written to run.json."""
    kept = _earlier_copies(run_dir, len(config.get("earlier_files", [])) + 1)
    if kept.exists():
        shutil.rmtree(run_dir.path / COPIES, ignore_errors=True)
        kept.rename(run_dir.path / COPIES)


def _earlier_copies(run_dir: RunDir, number: int) -> Path:
    return run_dir.path / f"{COPIES}.earlier-{number}"


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


def _as_it_is(path: Path) -> list[dict[str, str]]:
    """A file, and the modules that it imports, with their present checksums. Raises ConfigError."""
    [first, *_] = register(path, checksum_of(path), replace=True)
    return [{"path": module.path, "sha256": module.sha256} for module in first.modules]
