"""Checks the installation, devices, disk, images, and every run directory."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from lop_engine.datasets import IMAGENET32_DIR, ClassFolder
from lop_engine.errors import LaunchError, StoreError, UserError
from lop_engine.experiment.lookup import own_components
from lop_engine.experiment.spec import validate
from lop_engine.experiment.stored import foreign_components
from lop_engine.machine.devices import find_gpus, num_cores
from lop_engine.runs.code import damaged_copies
from lop_engine.runs.code_versions import mixed_code
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.files import kept_records, without_checkpoint
from lop_engine.runs.liveness import FileClock, observe
from lop_engine.runs.locks import hold
from lop_engine.runs.reading import read_run, read_without_records
from lop_engine.runs.records import ENDED
from lop_engine.runs.store import TableTail, num_whole_documents, repair_table
from lop_engine.text import byte_size

Level = Literal["ok", "note", "wrong"]

#: With less free space a run of 5,000 tasks with its metrics may fail.
_ROOM_BYTES = 2 * 2**30
_NEEDED = ("torch", "numpy", "textual", "plotext", "tinydb", "typer", "matplotlib")


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    level: Level
    subject: str
    what: str


def examine_machine(runs_dir: Path) -> Iterator[Finding]:
    """Check the installation, the devices, the disk and the images."""
    yield from look_at_installation()
    gpus_of_torch = find_gpus()
    gpus = [f"{name} with {byte_size(free)} free" for name, free in gpus_of_torch.free_bytes.items()]
    none = "no GPU that torch can use" if gpus_of_torch.problem else "no GPU"
    yield Finding("ok", "devices", ", ".join([f"{num_cores()} cores", *(gpus or [none])]))
    if gpus_of_torch.problem:
        yield Finding("note", "devices", f"torch cannot use a GPU that is present: {gpus_of_torch.problem}")
    yield _disk(runs_dir)
    yield _images()


def examine_runs(runs_dir: Path, repair: bool) -> Iterator[Finding]:
    """Check every run directory: configuration, status, each line of its records, its checkpoints, its code.

    Args:
        repair: rewrite damaged record files with the complete documents; the old file is kept beside it.
    """
    clock, readable = FileClock(runs_dir), []
    for run_dir in find_runs(runs_dir):
        findings = list(_examine_run(run_dir, clock, repair))
        yield from findings or [Finding("ok", run_dir.name, "no errors found")]
        with suppress(StoreError, OSError):
            readable.append(read_without_records(run_dir))
    for mixed in mixed_code(readable):
        yield Finding("wrong", mixed.setting, mixed.text)


def look_at_installation() -> Iterator[Finding]:
    versions = []
    for name in _NEEDED:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding("wrong", "installation", f"{name} is missing: install lop again")
    yield Finding("ok", "installation", f"Python {sys.version.split()[0]}, {', '.join(versions)}")
    answer = subprocess.run(
        [sys.executable, "-P", "-c", "import lop_engine.worker.process, lop_engine.worker.stack"],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield Finding("wrong", "installation", f"a worker cannot start: {last}")


def _disk(runs_dir: Path) -> Finding:
    place = runs_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{byte_size(free)} free at {place}"
    if free < _ROOM_BYTES:
        return Finding("wrong", "disk", f"{text}: a run of 5,000 tasks with all metrics takes 300 MB; free some space")
    return Finding("ok", "disk", text)


def _images() -> Finding:
    if not IMAGENET32_DIR.is_dir():
        return Finding("note", "images", f"no {IMAGENET32_DIR}: lop data import SOURCE, or train with --data synthetic")
    try:
        folder = ClassFolder.open(IMAGENET32_DIR)
    except UserError as error:
        return Finding("wrong", "images", str(error))
    return Finding("ok", "images", f"{folder.name}: {folder.num_classes} classes, {sum(folder.counts)} images")


def _examine_run(run_dir: RunDir, clock: FileClock, repair: bool) -> Iterator[Finding]:
    try:
        status = run_dir.read_status()
        spec = run_dir.read_spec()
        foreign = foreign_components(spec)
        copies = damaged_copies(run_dir)
        own = own_components(run_dir.read_config().get("components"))
        if not foreign:
            validate(spec, str(run_dir.run_json))
    except (UserError, OSError) as error:
        yield Finding("wrong", run_dir.name, str(error))
        return
    for copy in copies:
        what = f"{copy}: this copy of a component's file is missing or was changed; restore it from a backup"
        yield Finding("wrong", run_dir.name, what)
    if foreign := [one for one in foreign if one not in own]:
        what = f"{', '.join(foreign)}: not part of lop; lop run checks the configuration if the package is installed"
        yield Finding("note", run_dir.name, what)
    state = observe(run_dir, status, clock)
    if state == "lost":
        yield Finding("note", run_dir.name, f"its worker is gone ({status.holder}); run lop resume")
    if state == "failed":
        yield Finding("note", run_dir.name, f"failed: {status.error}")
    for path in run_dir.records:
        problem = _problem_of(path)
        if problem and repair:
            yield _repaired(run_dir, path)
        elif problem:
            yield problem.of(run_dir)
    view = read_run(run_dir, clock)
    for flag in view.flags:
        yield Finding("wrong" if flag == view.missing_records else "note", run_dir.name, flag)
    if state not in ENDED:
        yield from _checkpoints(run_dir)


@dataclass(frozen=True)
class _Problem:
    """A record file that differs from what a worker writes."""

    level: Level
    what: str

    def of(self, run_dir: RunDir) -> Finding:
        return Finding(self.level, run_dir.name, self.what)


def _problem_of(path: Path) -> _Problem | None:
    tail = TableTail(path)
    try:
        num_documents = len(tail.read_new())
    except StoreError as error:
        num_whole = num_whole_documents(path)
        return _Problem("wrong", f"{error}; lop doctor --repair keeps its {num_whole} whole documents")
    if tail.is_resaved:
        what = f"saved by another program; its {num_documents} documents are read; a resume rewrites it in lop's layout"
        return _Problem("note", f"{path}: {what}")
    return None


def _repaired(run_dir: RunDir, path: Path) -> Finding:
    """Check again and repair, both under the run's lock."""
    try:
        with hold(run_dir):
            if not _problem_of(path):
                return Finding("note", run_dir.name, f"{path}: another process has repaired or replaced it")
            done = repair_table(path, path.stem)
            state = run_dir.read_status().state
    except (LaunchError, StoreError, OSError) as error:
        return Finding("wrong", run_dir.name, str(error))
    lines = ", ".join(map(str, done.dropped[:5])) + (", ..." if len(done.dropped) > 5 else "")
    left_out = f", left out line {lines}" if done.dropped else ""
    what = f"{path}: kept {done.num_documents} documents{left_out}; old file: {done.backup.name}"
    if done.dropped and state not in ENDED:
        what += "; the run resumes only if its checkpoint covers no document that was left out"
    return Finding("note", run_dir.name, what)


def _checkpoints(run_dir: RunDir) -> Iterator[Finding]:
    """Check checkpoints: they are archives with checksums, which can be checked without torch."""
    is_whole = {path: _is_whole(path) for path in (run_dir.checkpoint, run_dir.previous_checkpoint) if path.exists()}
    for path, whole in is_whole.items():
        if not whole:
            advice = (
                "the checkpoint before it is used instead" if any(is_whole.values()) else without_checkpoint(run_dir)
            )
            yield Finding("wrong", run_dir.name, f"{path.name} is damaged; {advice}")
    if not is_whole and kept_records(run_dir):
        yield Finding("wrong", run_dir.name, f"{run_dir.checkpoint.name} is missing; {without_checkpoint(run_dir)}")


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except Exception:  # zipfile raises many exception types for a damaged archive
        return False
