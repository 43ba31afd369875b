"""Copies runs of several directories into one: all of them, or none."""

import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from lop_engine.analysis.comparison import ABSENT, differences
from lop_engine.errors import LaunchError, UserError
from lop_engine.files import resolved
from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import hold
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import RunView


def merge_runs(sources: Sequence[Path], target: Path) -> list[RunDir]:
    """Copy every run of `sources` into `target`, which may contain runs; the sources do not change.

    Returns:
        The new runs.
    Raises:
        UserError: a source is `target`, is named twice or holds no runs; a run cannot be read, waits or is trained;
            a seed is there twice; seeds of one setting differ in configuration or code. Both runs are named.
        LaunchError: another command has a run.
        OSError: a run cannot be copied. Nothing has been added.
    """
    _refuse_the_same(sources, target)
    there = list(RunsReader(target).read().runs)
    coming = [_read(source) for source in sources]
    runs = [run for of_source in coming for run in of_source]
    _refuse_unfit(runs)
    _refuse_duplicates([*there, *runs])
    _refuse_differing([*there, *runs])
    made = {run: RunDir(target / run.experiment / run.setting / run.dir.path.name) for run in runs}
    target.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for run_dir in sorted([*(run.dir for run in runs), *made.values()]):
            held.enter_context(hold(run_dir))
        _refuse_changed(made.values())
        place = Path(held.enter_context(TemporaryDirectory(dir=target, prefix=".merge.")))
        _copy(made, place)
    return sorted(made.values())


def _refuse_the_same(sources: Sequence[Path], target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UserError(f"merge: --to {target}: is a file; name a directory")
    directories: dict[Path, Path] = {resolved(target): target}
    for source in sources:
        other = directories.setdefault(resolved(source), source)
        if other is target:
            raise UserError(f"merge: {source} is the target itself; name another directory with --to")
        if other is not source:
            raise UserError(f"merge: {source} and {other} are the same directory; name it once")


def _read(source: Path) -> Sequence[RunView]:
    runs = RunsReader(source).read().runs
    if not runs:
        raise UserError(f"merge: no runs in {source}; name another directory")
    return runs


def _refuse_unfit(runs: Sequence[RunView]) -> None:
    for run in runs:
        if run.problem:
            raise UserError(f"merge: {run.dir.path}: cannot be read: {run.problem}")
        if run.state in ("running", "queued"):
            raise UserError(f"merge: {run.dir.path} is {run.state}; wait until it has ended, or stop it with lop stop")
        if run.dir.path.is_symlink():
            raise UserError(f"merge: {run.dir.path} is a symbolic link; name the directory that it leads to")


def _refuse_duplicates(runs: Sequence[RunView]) -> None:
    first: dict[tuple[str, str, int], RunView] = {}
    for run in runs:
        other = first.setdefault((run.experiment, run.setting, run.seed), run)
        if other is not run:
            raise UserError(
                f"merge: {other.dir.path} and {run.dir.path} are the same seed of the same setting; "
                "remove one with lop rm, or rename its experiment's directory"
            )


def _refuse_differing(runs: Sequence[RunView]) -> None:
    """Refuse seeds of one setting that differ in a key or code that determines their numbers."""
    settings: dict[tuple[str, str], list[RunView]] = defaultdict(list)
    for run in runs:
        settings[run.experiment, run.setting].append(run)
    for first, *others in settings.values():
        for run in others:
            pair = f"merge: {first.dir.path} and {run.dir.path} are of one setting"
            for key, values in differences(first.spec, run.spec).items():
                one, other = ("not given" if value is ABSENT else repr(value) for value in values)
                raise UserError(f"{pair}, but {key} is {one} in the first and {other} in the second")
            if first.code != run.code:
                names = ", ".join(sorted({name for name, _ in set(first.code) ^ set(run.code)}))
                raise UserError(f"{pair}, but were trained by different code ({names})")


def _refuse_changed(made: Iterable[RunDir]) -> None:
    """Check again under the locks: another command may have made such a run in the meantime."""
    for run_dir in made:
        if run_dir.path.exists():
            raise LaunchError(f"{run_dir.path}: was made meanwhile by another command; run lop merge again")


def _copy(made: Mapping[RunView, RunDir], place: Path) -> None:
    """Copy all runs beside the target's, then rename each; an error undoes this."""
    copies = {}
    for number, (run, run_dir) in enumerate(made.items()):
        copies[run_dir] = place / str(number)
        _copy_files(run.dir.path, copies[run_dir])
    named = []
    try:
        for run_dir, copy in copies.items():
            run_dir.path.parent.mkdir(parents=True, exist_ok=True)
            copy.rename(run_dir.path)
            named.append(run_dir)
    except OSError:
        for run_dir in named:
            shutil.rmtree(run_dir.path)
        raise


def _copy_files(source: Path, copy: Path) -> None:
    try:
        shutil.copytree(source, copy, symlinks=True)
    except shutil.Error as error:  # a list of (source, copy, reason), the reason with number and names
        [(file, _, reason), *_] = error.args[0]
        reason = re.sub(r"^\[Errno \d+\] |(: | ->)?'.*'$|^`.*` ", "", str(reason))
        raise UserError(f"merge: {file}: {reason}; nothing was added to the target") from None
