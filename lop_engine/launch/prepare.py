"""Make run directories ready for their workers: the only place where run.json is written."""

import platform
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lop_engine
from lop_engine.errors import ConfigError, LaunchError, StoreError, why
from lop_engine.records import ENDED, RunStatus
from lop_engine.run_files import kept_records
from lop_engine.rundir import FileClock, RunDir, find_runs, observe, write_json
from lop_engine.scheduler import Scheduler, has_job
from lop_engine.spec import BOOKKEEPING_KEYS, Run, Spec, validate


@dataclass(frozen=True)
class Prepared:
    """What there is to do: runs to train (new or unfinished), and those already done."""

    to_train: list[RunDir]
    resumed: list[RunDir]
    """The part of `to_train` that has a checkpoint to go on from."""
    done: list[RunDir]
    submitted: list[RunDir] = field(default_factory=list)
    """Those that a job in Slurm's queue will train."""


#: Keys in which a run may differ from its experiment file: it keeps the values that it was begun with.
_KEPT_KEYS = BOOKKEEPING_KEYS | {"curvature_every"}


def as_begun(runs_dir: Path, runs: Sequence[Run]) -> list[Run]:
    """Return the runs with the values that those begun before keep, whatever their file says now.

    A run.json that cannot be read changes nothing here: `prepare_run_dirs` reports it.
    """
    begun = set(find_runs(runs_dir))
    if not begun:
        return list(runs)
    dirs = [RunDir.of(runs_dir, run) for run in runs]
    return [
        replace(run, spec=_spec_as_begun(run_dir, run.spec)) if run_dir in begun else run
        for run_dir, run in zip(dirs, runs, strict=True)
    ]


def _spec_as_begun(run_dir: RunDir, spec: Spec) -> Spec:
    with suppress(StoreError, ConfigError, OSError):
        own = validate(run_dir.read_spec(), str(run_dir.run_json))
        return spec.model_copy(update={key: getattr(own, key) for key in _KEPT_KEYS})
    return spec


def prepare_run_dirs(
    runs_dir: Path,
    runs: Sequence[Run],
    fresh: bool = False,
    queued_only: bool = False,
    job_options: Sequence[str] | None = None,
) -> Prepared:
    """Create or take up the directory of every run; all are looked at before the first is changed.

    Args:
        fresh: remove what there is of these runs, and start over.
        queued_only: take up runs that are queued, and no others.
        job_options: what was typed for the jobs they are for; None if this machine trains them.
    Raises:
        LaunchError: a run is being trained now, or was begun with another configuration; or one that is to start over
            waits in Slurm's queue.
    """
    dirs = [RunDir.of(runs_dir, run) for run in runs]
    clock, scheduler = FileClock(runs_dir), Scheduler()
    existing = [(run_dir, run) for run_dir, run in zip(dirs, runs, strict=True) if run_dir.run_json.exists()]
    statuses = {run_dir: _read_status(run_dir, fresh) for run_dir, _ in existing}
    for run_dir, run in existing:
        _refuse_if_running(run_dir, statuses[run_dir], clock)
        if not fresh:
            with _advice(run_dir):
                _refuse_if_changed(run_dir, run.spec)
    submitted = {run_dir for run_dir, status in statuses.items() if has_job(status, scheduler)}
    if fresh:
        for run_dir in sorted(submitted):
            job = statuses[run_dir].job
            raise LaunchError(f"{run_dir.name}: waits as job {job} in Slurm's queue; lop stop {run_dir.name} first")
        for run_dir, _ in existing:
            run_dir.clear()
        statuses = {}
    done = {run_dir for run_dir, status in statuses.items() if status.state in ENDED}
    left_out = submitted | {run_dir for run_dir, status in statuses.items() if queued_only and status.state != "queued"}
    to_train = [(run_dir, run) for run_dir, run in zip(dirs, runs, strict=True) if run_dir not in done | left_out]
    for run_dir, run in to_train:
        _queue(run_dir, statuses.get(run_dir) or _create(run_dir, run), job_options)
    return Prepared(
        [run_dir for run_dir, _ in to_train],
        [run_dir for run_dir, _ in to_train if run_dir.has_checkpoint],
        [run_dir for run_dir in dirs if run_dir in done],
        [run_dir for run_dir in dirs if run_dir in submitted],
    )


def _queue(run_dir: RunDir, status: RunStatus, job_options: Sequence[str] | None) -> None:
    """From here on it is no job's: one that is submitted gets a job's name with the submission."""
    options = None if job_options is None else list(job_options)
    run_dir.write_status(replace(status, state="queued", error=None, epochs_per_s=None, job=None, job_options=options))


def take_up(run_dirs: Sequence[RunDir], job_options: Sequence[str] | None = None) -> Prepared:
    """Put runs that were begun before, and are not ended or being trained, back on the queue. Raises LaunchError.

    Args:
        job_options: as of `prepare_run_dirs`.
    """
    for run_dir in run_dirs:
        with _advice(run_dir):
            validate(run_dir.read_spec(), str(run_dir.run_json))
    for run_dir in run_dirs:
        _queue(run_dir, _read_status(run_dir, False), job_options)
    return Prepared(list(run_dirs), [run_dir for run_dir in run_dirs if run_dir.has_checkpoint], [])


def _read_status(run_dir: RunDir, fresh: bool) -> RunStatus:
    try:
        with _advice(run_dir):
            return run_dir.read_status()
    except LaunchError:
        if fresh:
            return RunStatus()
        raise


@contextmanager
def _advice(run_dir: RunDir) -> Iterator[None]:
    """Say what to do about a run.json or status.json that cannot be read."""
    try:
        yield
    except (StoreError, ConfigError) as error:
        raise LaunchError(f"{error}; {_mending(run_dir, str(error))}") from None


def _mending(run_dir: RunDir, problem: str) -> str:
    kept = kept_records(run_dir)
    if not kept:
        return f"start {run_dir.name} over with --fresh"
    if problem.startswith(str(run_dir.status_json)):
        return f"remove that file, then resume: {kept}"
    return f"restore that file from a backup, or train the run again under another --runs-dir; {kept}"


def _create(run_dir: RunDir, run: Run) -> RunStatus:
    try:
        if run_dir.path.exists():
            run_dir.clear()  # what has no run.json is the rest of a run that was removed
        run_dir.path.mkdir(parents=True)
        write_json(run_dir.run_json, _run_config(run), durable=True)
    except OSError as error:
        raise LaunchError(f"{run_dir.path}: cannot be created: {why(error)}") from None
    return RunStatus(num_tasks=run.spec.num_tasks, num_epochs=run.spec.num_showings)


def _run_config(run: Run) -> dict[str, Any]:
    """The content of run.json: all that decides the run's numbers, and where and with what they came about."""
    return {
        "experiment": run.experiment,
        "setting": run.setting,
        "seed": run.seed,
        "method": run.spec.method,
        "spec": run.spec.model_dump(),
        "created_at": time.time(),
        "host": socket.gethostname(),
        "versions": {"lop": lop_engine.__version__, "python": platform.python_version()}
        | {name: _version(name) for name in ("torch", "numpy")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise LaunchError(f"{package} is not installed; install lop again (pip install -e .)") from None


def _refuse_if_running(run_dir: RunDir, status: RunStatus, clock: FileClock) -> None:
    if observe(run_dir, status, clock) == "running":
        raise LaunchError(
            f"{run_dir.name}: is being trained now by {status.holder}; "
            f"follow it with lop watch, or stop it with lop stop {run_dir.name}"
        )


def _refuse_if_changed(run_dir: RunDir, spec: Spec) -> None:
    """Two configurations under one name would mix their results; what was imported has no weights to go on from."""
    if "imported" in run_dir.read_config():
        raise LaunchError(
            f"{run_dir.name}: was imported, so it has no weights to train on from; "
            f"name other seeds, rename the file, or choose another --runs-dir{_or_fresh(run_dir)}"
        )
    old = validate(run_dir.read_spec(), str(run_dir.run_json)).model_dump()
    new = spec.model_dump()
    changed = [key for key in new if key not in _KEPT_KEYS and old[key] != new[key]]
    if changed:
        what = ", ".join(f"{key} {old[key]!r} -> {new[key]!r}" for key in changed)
        raise LaunchError(
            f"{run_dir.name}: was begun with another configuration ({what}); "
            f"rename the file, or choose another --runs-dir{_or_fresh(run_dir)}"
        )


def _or_fresh(run_dir: RunDir) -> str:
    """Starting over is no advice where it would remove whole records."""
    kept = kept_records(run_dir)
    return f"; {kept}" if kept else ", or start over with --fresh"
