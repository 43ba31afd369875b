"""Reads the runs of several directories as one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lop_engine.errors import StoreError, UserError
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import RunView, Snapshot


class SeveralReader:
    """Reads runs directories repeatedly, each time only what is new.

    Args:
        carries: how means treat runs that a rule ended, see `RunView.carries`.
    """

    def __init__(self, runs_dirs: Sequence[Path], carries: bool = True) -> None:
        self._readers = [RunsReader(runs_dir, carries) for runs_dir in dict.fromkeys(runs_dirs)]

    def read(self) -> Snapshot:
        """Return the current state of all runs; a single directory may have none.

        A run and its copy (same `id` in run.json) count once: the one with more tasks, or the first.

        Raises:
            UserError: one of several directories holds no runs, or two different runs have the same experiment, setting
                and seed; both are named.
        """
        return _joined([reader.read() for reader in self._readers])

    def read_ends(self) -> Snapshot | None:
        """Return the same with only the last tasks of long records, see `RunsReader.read_ends`. Raises UserError."""
        ends = [reader.read_ends() for reader in self._readers]
        if not any(ends):
            return None
        pairs = zip(self._readers, ends, strict=True)
        return replace(_joined([end or reader.read() for reader, end in pairs]), has_ends_only=True)


def read_together(runs_dirs: Sequence[Path], carries: bool = True) -> Snapshot:
    """Read runs directories once, like `SeveralReader`. Raises UserError."""
    return SeveralReader(runs_dirs, carries).read()


def _joined(snapshots: Sequence[Snapshot]) -> Snapshot:
    first, *others = snapshots
    if not others:
        return first
    by_place: dict[tuple[str, str, int], RunView] = {}
    for snapshot in (first, *others):
        if not snapshot.runs:
            raise UserError(f"no runs in {snapshot.runs_dir}; leave out this --runs-dir, or name another")
        for run in snapshot.runs:
            key = run.experiment, run.setting, run.seed
            other = by_place.setdefault(key, run)
            if other is not run:
                _refuse_unless_same(other, run)
                by_place[key] = max(other, run, key=lambda one: one.tasks_recorded)
    runs = tuple(by_place[key] for key in sorted(by_place))
    return snapshot_of([snapshot.runs_dir for snapshot in snapshots], runs)


def snapshot_of(runs_dirs: Sequence[Path], runs: Sequence[RunView]) -> Snapshot:
    """Return a snapshot of some of the runs of these directories."""
    return Snapshot(runs_dirs[0], tuple(runs), others=tuple(runs_dirs[1:]))


def _refuse_unless_same(one: RunView, other: RunView) -> None:
    if not _is_same(one, other):
        raise UserError(
            f"{one.dir.path} and {other.dir.path} are different runs of the same setting and seed; "
            "leave out one --runs-dir, or remove one run with lop rm"
        )


def _is_same(one: RunView, other: RunView) -> bool:
    """Whether two directories are the same run: the same place, or a copy with its `id`."""
    if one.dir.path.resolve() == other.dir.path.resolve():
        return True
    try:
        ids = {one.dir.read_id(), other.dir.read_id()}
    except (StoreError, OSError):
        return False
    return len(ids) == 1 and ids != {str(None)}
