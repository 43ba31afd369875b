"""The runs of several directories, read as if they lay in one."""

from collections.abc import Sequence
from pathlib import Path

from lop_engine.errors import StoreError, UserError
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import RunView, Snapshot


def read_together(runs_dirs: Sequence[Path]) -> Snapshot:
    """The state of all runs under `runs_dirs` now; a single directory may hold none.

    A run and its copy (one `id` in run.json) count once: the one with more tasks, or the first.

    Raises:
        UserError: one of several directories holds no runs, or two different runs have the same experiment, setting and
            seed; both are named.
    """
    first, *others = (RunsReader(runs_dir).read() for runs_dir in runs_dirs)
    if not others:
        return first
    found: dict[tuple[str, str, int], RunView] = {}
    for snapshot in (first, *others):
        if not snapshot.runs:
            raise UserError(f"no runs in {snapshot.runs_dir}; leave out this --runs-dir, or name another")
        for run in snapshot.runs:
            key = run.experiment, run.setting, run.seed
            other = found.setdefault(key, run)
            if other is not run:
                _refuse_unless_same(other, run)
                found[key] = max(other, run, key=lambda one: one.tasks_recorded)
    runs = tuple(found[key] for key in sorted(found))
    return snapshot_of(runs_dirs, runs)


def snapshot_of(runs_dirs: Sequence[Path], runs: Sequence[RunView]) -> Snapshot:
    """Some of the runs of these directories."""
    return Snapshot(runs_dirs[0], tuple(runs), others=tuple(runs_dirs[1:]))


def _refuse_unless_same(one: RunView, other: RunView) -> None:
    if not _is_same(one, other):
        raise UserError(
            f"{one.dir.path} and {other.dir.path} are different runs of the same setting and seed; "
            "leave out one --runs-dir, or remove one run with lop rm"
        )


def _is_same(one: RunView, other: RunView) -> bool:
    """Whether two directories are one run: the same place, or a copy with its `id`."""
    if one.dir.path.resolve() == other.dir.path.resolve():
        return True
    try:
        ids = {one.dir.read_id(), other.dir.read_id()}
    except (StoreError, OSError):
        return False
    return len(ids) == 1 and ids != {str(None)}
