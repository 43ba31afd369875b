"""Remove all the runs that were named, or none."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from lop_engine.errors import LaunchError, StoreError
from lop_engine.launch.claims import Claims, refuse_if_queued
from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import hold


def look_at_removal(run_dirs: Iterable[RunDir]) -> dict[RunDir, str | None]:
    """The current identity of each run; None if it cannot be read.

    Raises:
        LaunchError: a run lies behind a symbolic link, or another process has queued it.
    """
    found = {}
    for run_dir in run_dirs:
        run_dir.refuse_link()
        with suppress(StoreError):
            refuse_if_queued(run_dir, run_dir.read_status())
        found[run_dir] = _identity(run_dir)
    return found


def remove_runs(looked_at: Mapping[RunDir, str | None]) -> list[RunDir]:
    """Remove runs that still have the given identities; return them. Runs that are already gone are left out.

    Raises:
        LaunchError: a run is being trained, is queued, or was started over meanwhile. Nothing has been removed.
    """
    there = []
    with Claims() as claims:
        for run_dir in sorted(looked_at):
            with hold(run_dir):
                if run_dir.path.exists():
                    _claim(claims, run_dir, looked_at[run_dir])
                    there.append(run_dir)
        for run_dir in there:
            claims.keep(run_dir)
            with hold(run_dir):
                run_dir.clear()
    return there


def _claim(claims: Claims, run_dir: RunDir, identity: str | None) -> None:
    if _identity(run_dir) != identity:
        raise LaunchError(f"{run_dir.name}: was started over meanwhile by another lop command; it is kept")
    with suppress(StoreError):  # a damaged status has no owner
        claims.take(run_dir, run_dir.read_status())


def _identity(run_dir: RunDir) -> str | None:
    try:
        return run_dir.read_id()
    except (OSError, StoreError):  # damaged
        return None
