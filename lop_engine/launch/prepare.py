"""Prepares run directories for their workers. The only module that writes run.json."""

import platform
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import lop_engine
from lop_engine import NUMERICS
from lop_engine.errors import ConfigError, LaunchError, StoreError, why
from lop_engine.experiment.lookup import for_run_json
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec, validate
from lop_engine.launch.claims import Claims, is_ours, refuse_if_queued
from lop_engine.launch.resolve import _KEPT_KEYS
from lop_engine.runs.code import checkout_state, files_of, keep_copies, refuse_other_files, spec_to_train
from lop_engine.runs.directory import SCHEMA, RunDir, write_json
from lop_engine.runs.files import kept_records
from lop_engine.runs.jobs import Scheduler, has_job, scheduler
from lop_engine.runs.liveness import FileClock, observe
from lop_engine.runs.locks import hold, trained_error
from lop_engine.runs.records import ENDED, RunStatus

_Verdict = Literal["new", "begun", "done", "submitted", "left"]
"""State of a run for this command: new, unfinished, ended, a cluster job's, or taken by another process."""


@dataclass(frozen=True)
class Prepared:
    """Runs to train (new or unfinished), and those already done."""

    to_train: list[RunDir]
    """Runs in this process's queue."""
    resumed: list[RunDir]
    """The part of `to_train` that resumes from a checkpoint."""
    done: list[RunDir]
    submitted: list[RunDir] = field(default_factory=list)
    """Runs that a job in a cluster's queue will train."""


def prepare_run_dirs(
    runs_dir: Path,
    runs: Sequence[Run],
    fresh: bool = False,
    handed_over: str | None = None,
    job_options: Sequence[str] | None = None,
) -> Prepared:
    """Create or reuse the directory of every run, and queue unfinished ones for this process; all of them or none.

    Every run is checked before the first is changed, and again under its lock: another command may have started, ended
    or removed it in the meantime. With `fresh`, records are removed only when all runs are taken.

    Args:
        fresh: remove existing records of these runs, and start over.
        handed_over: token of the process that has queued runs for this one: take only those.
        job_options: options of the jobs that will train them; None if this machine trains them.
    Raises:
        LaunchError: another process trains or has queued a run; a run began with another configuration; or a run to
            start over waits in a cluster's queue or lies behind a symbolic link.
    """
    by_dir = {RunDir.of(runs_dir, run): run for run in runs}
    look = _Look(FileClock(runs_dir), scheduler(), fresh, handed_over)
    for run_dir, run in by_dir.items():
        look.judge(run_dir, run)
    verdicts: dict[RunDir, _Verdict] = {}
    with Claims(job_options, handed_over) as claims:
        for run_dir in sorted(by_dir):  # in a fixed order, so that one of two commands gets all
            with hold(run_dir):
                verdicts[run_dir] = look.take(claims, run_dir, by_dir[run_dir])
        to_start_over = [run_dir for run_dir in verdicts if fresh and verdicts[run_dir] == "begun"]
        for run_dir in to_start_over:
            claims.keep(run_dir)
            verdicts[run_dir] = _start_over(run_dir, by_dir[run_dir])
        claims.keep(*by_dir)
    to_train = [run_dir for run_dir in by_dir if verdicts[run_dir] in ("new", "begun")]
    return Prepared(
        to_train,
        [run_dir for run_dir in to_train if run_dir.has_checkpoint],
        [run_dir for run_dir in by_dir if verdicts[run_dir] == "done"],
        [run_dir for run_dir in by_dir if verdicts[run_dir] == "submitted"],
    )


@dataclass(frozen=True)
class _Look:
    """Decides how this command treats each run."""

    clock: FileClock
    scheduler: Scheduler
    fresh: bool
    handed_over: str | None

    def judge(self, run_dir: RunDir, run: Run) -> _Verdict:
        """Decide how to treat a run. Raises LaunchError."""
        if run_dir.run_json.exists():
            with suppress(FileNotFoundError):  # it is being removed
                return self._judge_existing(run_dir, run)
        _refuse_records_without_spec(run_dir, self.fresh)
        return "left" if self.handed_over else "new"

    def _judge_existing(self, run_dir: RunDir, run: Run) -> _Verdict:
        status = _read_status(run_dir, self.fresh)
        if self.handed_over:
            return "begun" if _is_handed_over(status, self.handed_over) else "left"
        if observe(run_dir, status, self.clock) == "running":
            raise trained_error(run_dir, status)
        refuse_if_queued(run_dir, status)
        if self.fresh:
            run_dir.refuse_link()
        else:
            with _advice(run_dir):
                _refuse_if_changed(run_dir, run.spec)
        if has_job(status, self.scheduler):
            if self.fresh:
                raise LaunchError(
                    f"{run_dir.name}: waits as job {status.job} in {self.scheduler.title}'s queue; "
                    f"lop stop {run_dir.name} first"
                )
            return "submitted"
        return "begun" if self.fresh or status.state not in ENDED else "done"

    def take(self, claims: Claims, run_dir: RunDir, run: Run) -> _Verdict:
        """Check a run again under its lock, and queue it if it is to be trained. Raises LaunchError."""
        verdict = self.judge(run_dir, run)
        if verdict == "begun":
            claims.take(run_dir, _read_status(run_dir, self.fresh))
        if verdict == "new":
            claims.make(run_dir, lambda status: _create(run_dir, run, status))
        return verdict


def _start_over(run_dir: RunDir, run: Run) -> _Verdict:
    """Replace a run in our queue with a new one of the same name."""
    with hold(run_dir):
        status = run_dir.read_status()
        if not is_ours(status):  # stopped in the meantime
            return "left"
        run_dir.clear()
        _create(run_dir, run, RunStatus("queued", launcher=status.launcher, job_options=status.job_options))
        return "new"


def take_up(
    run_dirs: Sequence[RunDir],
    job_options: Sequence[str] | None = None,
    handed_over: str | None = None,
    rules: Sequence[str] | None = None,
) -> Prepared:
    """Queue existing runs for this process; all of them or none.

    Args:
        job_options, handed_over: see `prepare_run_dirs`; handed-over runs that were stopped in the meantime are left.
        rules: new rules for these runs; runs that a rule has ended are then taken too.
    Raises:
        LaunchError: another process trains a run, has queued it, or has ended it in the meantime.
    """
    for run_dir in run_dirs:
        with _advice(run_dir):
            spec_to_train(run_dir)
    taken = set()
    with Claims(job_options, handed_over) as claims:
        for run_dir in sorted(run_dirs):
            with hold(run_dir):
                if not run_dir.run_json.exists():
                    raise LaunchError(f"{run_dir.name}: was removed meanwhile; run the same command again")
                status = _read_status(run_dir, False)
                if handed_over and not _is_handed_over(status, handed_over):
                    continue
                if status.state in ENDED and (rules is None or status.state != "ended-by-rule"):
                    raise LaunchError(f"{run_dir.name}: has {status.state} meanwhile; run the same command again")
                claims.take(run_dir, status)
                taken.add(run_dir)
        claims.keep(*taken)
    if rules is not None:
        for run_dir in taken:
            _replace_rules(run_dir, rules)
    to_train = [run_dir for run_dir in run_dirs if run_dir in taken]
    return Prepared(to_train, [run_dir for run_dir in to_train if run_dir.has_checkpoint], [])


def _replace_rules(run_dir: RunDir, rules: Sequence[str]) -> None:
    """Write new rules into the run.json of a run in our queue."""
    with hold(run_dir):
        if is_ours(run_dir.read_status()):  # not stopped in the meantime
            config = run_dir.read_config()
            spec = config["spec"] | {"stop_when": list(rules)}
            write_json(run_dir.run_json, config | {"spec": spec}, durable=True)


def _is_handed_over(status: RunStatus, handed_over: str) -> bool:
    """Whether a run is still in the queue of the process that hands it over, or already in ours."""
    is_theirs = status.launcher is not None and status.launcher.token == handed_over
    return status.state == "queued" and (is_theirs or is_ours(status))


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
    """Return advice about a run.json or status.json that cannot be read."""
    try:
        yield
    except (StoreError, ConfigError) as error:
        raise LaunchError(f"{error}; {_mending(run_dir, str(error))}") from None


def _mending(run_dir: RunDir, problem: str) -> str:
    present = kept_records(run_dir)
    if not present:
        return f"start {run_dir.name} over with --fresh"
    if problem.startswith(str(run_dir.status_json)):
        return f"remove that file, then resume: {present}"
    return f"restore that file from a backup, or train the run again under another --runs-dir; {present}"


def _create(run_dir: RunDir, run: Run, status: RunStatus) -> None:
    """Create a run directory; run.json, which makes it a run, comes last. Raises LaunchError."""
    try:
        if run_dir.path.exists():
            run_dir.clear()  # left behind by a command that was killed
        run_dir.path.mkdir(parents=True)
        keep_copies(run_dir, files_of(run.spec))
        run_dir.write_status(replace(status, num_tasks=run.spec.num_tasks, num_epochs=run.spec.num_parts))
        write_json(run_dir.run_json, _run_config(run), durable=True)
    except OSError as error:
        raise LaunchError(f"{run_dir.path}: cannot be created: {why(error)}") from None


def _refuse_records_without_spec(run_dir: RunDir, fresh: bool) -> None:
    """Raise LaunchError for records without a run.json, which may have been removed by mistake."""
    present = [path for path in (*run_dir.records, run_dir.checkpoint) if path.exists()]
    if present and not fresh:
        raise LaunchError(
            f"{run_dir.path}: holds {present[0].name} but no run.json; put run.json back, or move the directory away"
        )


def _run_config(run: Run) -> dict[str, Any]:
    """Return the content of run.json: everything that determines the run's numbers, and its origin."""
    return {
        "schema": SCHEMA,
        "id": uuid.uuid4().hex,
        "experiment": run.experiment,
        "setting": run.setting,
        "seed": run.seed,
        "method": run.spec.method,
        "components": for_run_json(run.spec),
        **({"files": files} if (files := files_of(run.spec)) else {}),
        "spec": run.spec.to_dict(),
        "created_at": time.time(),
        "host": socket.gethostname(),
        "versions": {"lop": lop_engine.__version__, "python": platform.python_version()}
        | {name: _version(name) for name in ("torch", "numpy")},
        "code": {"numerics": NUMERICS, **checkout_state()},
    }


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise LaunchError(f"{package} is not installed; install lop again") from None


def _refuse_if_changed(run_dir: RunDir, spec: Spec) -> None:
    """Raise LaunchError if the configuration has changed: results would mix, and imported runs have no weights."""
    if "imported" in run_dir.read_config():
        raise LaunchError(
            f"{run_dir.name}: was imported, so it has no weights to resume from; "
            f"name other seeds, rename the file, or choose another --runs-dir{_or_fresh(run_dir)}"
        )
    if run_dir.read_status().state not in ENDED:
        refuse_other_files(run_dir, run_dir.read_config(), spec)
    old = validate(run_dir.read_spec(), str(run_dir.run_json)).to_dict()
    new = spec.to_dict()
    keys = [key for key in {**new, **old} if key not in _KEPT_KEYS]
    changed = [key for key in keys if old.get(key) != new.get(key)]
    if "problem" in changed:  # because nearly all other keys depend on it
        changed = ["problem"]
    if changed:
        what = ", ".join(f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in changed)
        raise LaunchError(
            f"{run_dir.name}: was begun with another configuration ({what}); "
            f"rename the file, or choose another --runs-dir{_or_fresh(run_dir)}"
        )


def _or_fresh(run_dir: RunDir) -> str:
    """Return advice to start over, if that would not remove complete records."""
    present = kept_records(run_dir)
    return f"; {present}" if present else ", or start over with --fresh"
