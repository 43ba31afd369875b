"""Two commands on the same runs: one runs completely at each point where the other has read a run but not changed it.

A run is changed only under its lock, so these points are where a lock is taken.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from lop_engine import processes
from lop_engine.errors import LaunchError
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import look_at, prepare_run_dirs, stop_runs, take_up
from lop_engine.processes import Process, start_of
from lop_engine.runs import locks
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.locks import hold
from lop_engine.runs.store import TableWriter, read_table
from lop_tui.commands.rm import rm
from tests.helpers import TINY

SEEDS = (0, 1, 2, 3)
#: State and number of documents of each seed; the last seed does not exist yet.
START = {0: ("finished", 3), 1: ("stopped", 2), 2: ("queued", 1)}
SPEC = Spec(**TINY)


@pytest.fixture(scope="module")
def other() -> Iterator[Process]:
    """Start another live process on this machine."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield Process(child.pid, socket.gethostname(), start_of(child.pid), time.time())
        child.kill()


@contextmanager
def acting_as(process: Process) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "process_with_pid", lambda pid: process)
        yield


@contextmanager
def before_lock(number: int, intrude: Callable[[], None]) -> Iterator[list[int]]:
    """Call `intrude` before the `number`-th lock is taken; yield the numbers of the locks taken so far."""
    acquire, numbers, taken = locks.acquire, count(), []

    def wrapped(run_dir: RunDir, deadline: float) -> int | None:
        taken.append(next(numbers))
        if taken[-1] == number:
            intrude()
        return acquire(run_dir, deadline)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "acquire", wrapped)
        patch.setattr(locks, "PATIENCE_S", 0.1)
        yield taken


@dataclass
class Scene:
    """Runs as in `START`, and the commands that act on them."""

    runs_dir: Path
    other: Process
    trained: list[tuple[RunDir, int]] = field(default_factory=list)
    """Runs that the other's worker trains, and the inode of their records."""

    @property
    def runs(self) -> list[Run]:
        return [Run("cbp", "default", seed, SPEC) for seed in SEEDS]

    def run(self) -> set[RunDir]:
        return set(prepare_run_dirs(self.runs_dir, self.runs).to_train)

    def run_fresh(self) -> set[RunDir]:
        return set(prepare_run_dirs(self.runs_dir, self.runs, fresh=True).to_train)

    def resume(self) -> set[RunDir]:
        views = look_at(self.runs_dir)
        return set(take_up([view.dir for view in views if view.state in ("stopped", "queued", "failed")]).to_train)

    def stop(self) -> set[RunDir]:
        views = look_at(self.runs_dir)
        stop_runs(views, views)
        return set()

    def rm(self) -> set[RunDir]:
        rm(["cbp"], self.runs_dir, yes=True)
        return set()

    def train(self) -> set[RunDir]:
        """Let the other process take all runs, start a worker with the first, and record a task."""
        taken = self.run()
        run_dir = min(taken)
        with hold(run_dir), TableWriter(run_dir.tasks_json, "tasks") as table:
            table.append({"task": table.num_documents})
            status = run_dir.read_status()
            mine = {"pid": self.other.pid, "pid_start": self.other.start, "host": self.other.host}
            run_dir.write_status(replace(status, state="running", launcher=None, **mine))
        self.trained.append((run_dir, run_dir.tasks_json.stat().st_ino))
        return taken - {run_dir}


def set_up(runs_dir: Path, other: Process) -> Scene:
    scene = Scene(runs_dir, other)
    for run_dir in prepare_run_dirs(runs_dir, scene.runs[: len(START)]).to_train:
        state, tasks = START[run_dir.seed]
        with TableWriter(run_dir.tasks_json, "tasks") as table:
            table.extend({"task": task} for task in range(tasks))
        run_dir.write_status(replace(run_dir.read_status(), state=state, tasks_done=tasks, launcher=None))
    return scene


def attempt(command: Callable[[], set[RunDir]]) -> tuple[set[RunDir], str | None]:
    """Return the runs that a command has in its queue at the end, and its refusal."""
    try:
        return command(), None
    except LaunchError as error:
        return set(), str(error)


COMMANDS = ("run", "run_fresh", "resume", "stop", "rm")


@pytest.mark.parametrize("second", [*COMMANDS, "train"])
@pytest.mark.parametrize("first", COMMANDS)
def test_one_command_may_run_between_any_read_and_change_of_another(tmp_path, other, first, second):
    for number in count():
        scene = set_up(tmp_path / str(number), other)
        outcomes: dict[str, tuple[set[RunDir], str | None]] = {}

        def intrude(scene=scene, outcomes=outcomes) -> None:
            with acting_as(other):
                outcomes["second"] = attempt(getattr(scene, second))

        with before_lock(number, intrude) as taken:
            outcomes["first"] = attempt(getattr(scene, first))
        if number not in taken:
            assert number > 0, "no lock was taken, so nothing was tested"
            return
        check(scene, {first: outcomes["first"], f"{second} of the other": outcomes["second"]})


def test_a_run_stopped_while_its_background_launcher_starts_stays_stopped(tmp_path, other):
    scene = set_up(tmp_path, other)
    with acting_as(other):
        handed_over = scene.resume()
    first = min(handed_over)
    views = look_at(tmp_path)
    stop_runs([view for view in views if view.dir == first], views)
    prepared = take_up(sorted(handed_over), handed_over=other.token)
    assert set(prepared.to_train) == handed_over - {first}
    assert prepared.to_train
    assert first.read_status().state == "stopped"


def check(scene: Scene, outcomes: dict[str, tuple[set[RunDir], str | None]]) -> None:
    (mine, my_refusal), (others, other_refusal) = outcomes.values()
    queued = {run_dir: run_dir.read_status() for run_dir in find_runs(scene.runs_dir)}
    still_mine = {one for one in mine if queued.get(one) and queued[one].launcher and queued[one].state == "queued"}
    assert not still_mine & others, f"two processes queued the same run: {outcomes}"
    for refusal in filter(None, (my_refusal, other_refusal)):
        assert "process" in refusal or "meanwhile" in refusal, refusal
    done = {name.split()[0] for name, (_, refusal) in outcomes.items() if not refusal}
    for run_dir, inode in scene.trained:
        assert run_dir.tasks_json.stat().st_ino == inode, f"records of a run that is trained were replaced: {outcomes}"
    if my_refusal:
        mine_left = [one.name for one, status in queued.items() if status.launcher == processes.this_process()]
        assert not mine_left, f"refused but queued: {outcomes}"
    for seed, (_, tasks) in START.items():
        [run_dir] = [RunDir.of(scene.runs_dir, run) for run in scene.runs if run.seed == seed]
        documents = len(read_table(run_dir.tasks_json)) if run_dir.path.exists() else 0
        assert documents >= tasks or done & {"run_fresh", "rm"}, f"{seed}: {documents} documents: {outcomes}"
    litter = [path for path in scene.runs_dir.rglob(".*") if path.suffix != ".lock"]
    alone = [path for path in scene.runs_dir.rglob(".*.lock") if not path.with_name(path.name[1:-5]).exists()]
    assert not litter + alone
