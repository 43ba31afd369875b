"""A dashboard while runs appear, train, fail and vanish: for 10 minutes in `make soak`, for seconds in the suite."""

import asyncio
import gc
import os
import random
import shutil
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
from textual.binding import Binding
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import ModalScreen

from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import RunStatus, State, epoch_document, task_document
from lop_engine.runs.store import TableWriter
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.dialogs import HelpScreen, Question
from lop_tui.dashboard.reader import SnapshotFailed
from lop_tui.dashboard.rows import count_states
from lop_tui.dashboard.screens import FrameScreen
from lop_tui.dashboard.table import describe_states
from lop_tui.dashboard.views.compare.screen import CompareScreen
from lop_tui.dashboard.views.log.screen import LogScreen
from lop_tui.dashboard.views.overview.panels import RunsTable
from lop_tui.dashboard.views.overview.screen import OverviewScreen
from lop_tui.dashboard.views.seeds.screen import SeedsScreen
from lop_tui.dashboard.widgets.lines import StatusLine
from lop_tui.dashboard.widgets.prompt import Prompt, PromptInput
from tests.dashboard.conftest import first_frame, until
from tests.helpers import make_metrics, make_run

IS_LONG = os.environ.get("LOP_SOAK") == "long"
SECONDS = 600 if IS_LONG else 6
SEED = int(os.environ.get("LOP_SOAK_SEED", "0"))
MOST_RUNS = 24
NUM_EPOCHS = 5
EXCLUDED_KEYS = {"q", "p", "P"}
"""Quit, figure and picture: they end the app or write files."""


@dataclass
class ShownRun:
    """A run as `World` left it, and the state that the dashboard must show."""

    dir: RunDir
    num_tasks: int
    state: State = "queued"
    is_damaged: bool = False


class World(threading.Thread):
    """A thread that changes a runs directory at random, as workers, users and failing disks do."""

    #: The actions and their relative frequencies.
    ACTIONS: ClassVar[dict[str, int]] = dict(
        appear=4, record=20, log_lines=4, end=2, lose=1, cut_back=2, tear=1, damage=1, vanish=3, move_directory=1
    )

    def __init__(self, runs_dir: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self._runs_dir = runs_dir
        self._rng = random.Random(seed)
        self._process = psutil.Process()
        self.runs: dict[RunDir, ShownRun] = {}
        self.actions: Counter[str] = Counter()
        self.error: BaseException | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            while not self.stopping.wait(self._rng.uniform(0, 0.05)):
                self.do(*self._rng.choices(list(self.ACTIONS), list(self.ACTIONS.values())))
            self.runs or self.do("appear")
        except BaseException as error:
            self.error = error

    def do(self, action: str) -> None:
        self.actions[action] += 1
        whole = [run for run in self.runs.values() if not run.is_damaged]
        if action in ("appear", "move_directory"):
            getattr(self, action)()
        elif action == "vanish" and self.runs:
            self.vanish(self._rng.choice(list(self.runs.values())))
        elif action != "vanish" and whole:
            getattr(self, action)(self._rng.choice(whole))

    def appear(self) -> None:
        method, setting = self._rng.choice(["bp", "cbp", "l2", "snp"]), self._rng.choice(["default", "step_size=0.1"])
        run_dir = RunDir(self._runs_dir / method / setting / f"seed_{self._rng.randrange(6):03d}")
        if run_dir in self.runs or len(self.runs) >= MOST_RUNS:
            return
        num_tasks = self._rng.choice([1, 3, 40, 120])
        make_run(self._runs_dir, method, run_dir.seed, setting=setting, num_tasks=num_tasks, tasks_done=0)
        self.runs[run_dir] = ShownRun(run_dir, num_tasks)
        self._write_status(self.runs[run_dir], "queued")

    def record(self, run: ShownRun, most: int = 8) -> None:
        metrics = make_metrics(run.dir.experiment, run.num_tasks, self._rng.randrange(1000))
        with TableWriter(run.dir.tasks_json, "tasks") as tasks, TableWriter(run.dir.epochs_json, "epochs") as epochs:
            done = tasks.num_documents
            for task in range(done, min(done + self._rng.randint(1, most), run.num_tasks)):
                values = {name: float(metrics[name][task]) for name in CONTINUAL_IMAGENET.metrics}
                values[self._rng.choice(CONTINUAL_IMAGENET.metrics)] *= self._rng.choice([1, 1, 1, np.nan])
                epochs.extend(epoch_document(task, epoch, values) for epoch in range(NUM_EPOCHS))
                tasks.append(task_document(task, {"classes": [2 * task, 2 * task + 1]}, 1.5, values))
            done = tasks.num_documents
        self._write_status(run, "finished" if done == run.num_tasks else "running", done)

    def cut_back(self, run: ShownRun) -> None:
        """Resume the run from an older checkpoint; it then has more or fewer records than before."""
        with TableWriter(run.dir.tasks_json, "tasks") as tasks:
            keep = self._rng.randint(0, tasks.num_documents)
        TableWriter(run.dir.tasks_json, "tasks", keep=keep).close()
        self.record(run, most=self._rng.choice([1, 30]))

    def end(self, run: ShownRun) -> None:
        states: list[State] = ["failed", "diverged", "stopped", "queued"]
        error = 'Traceback (most recent call last):\n  File "a.py"\nRuntimeError: out of [memory]\x1b[31m'
        state = self._rng.choice(states)
        self._write_status(run, state, 1, error=error if state == "failed" else None)

    def lose(self, run: ShownRun) -> None:
        """Let its worker disappear without a final status."""
        self._write_status(run, "running", 1, pid_started_at=1.0)
        run.state = "lost"

    def log_lines(self, run: ShownRun) -> None:
        with run.dir.log.open("a") as log:
            log.write("".join(f"from task {self._rng.random()} [bold]\x1b[1m\t\u4e2d\u6587\n" for _ in range(20)))

    def tear(self, run: ShownRun) -> None:
        """Truncate the record file as a power failure during an append would."""
        os.truncate(run.dir.tasks_json, max(0, run.dir.tasks_json.stat().st_size - self._rng.randint(1, 40)))

    def damage(self, run: ShownRun) -> None:
        path = self._rng.choice([run.dir.tasks_json, run.dir.status_json, run.dir.run_json])
        if path == run.dir.tasks_json:
            with path.open("ab") as file:
                file.write(b'rubbish\n"7777": {"task": 7}\n')
        else:
            path.write_bytes(b"[\xff")
        run.is_damaged = True
        if path == run.dir.status_json or run.state != "running":
            run.state = "failed"

    def vanish(self, run: ShownRun) -> None:
        if self._rng.random() < 0.5:
            run.dir.clear()
        else:
            shutil.rmtree(run.dir.path)
        del self.runs[run.dir]

    def move_directory(self) -> None:
        """Rename the runs directory away, then restore it or make a new one."""
        away = self._runs_dir.with_name("away")
        self._runs_dir.rename(away)
        self.stopping.wait(self._rng.uniform(0, 0.3))
        if self._rng.random() < 0.8:
            away.rename(self._runs_dir)
        else:
            shutil.rmtree(away)
            self._runs_dir.mkdir()
            self.runs.clear()

    def _write_status(self, run: ShownRun, state: State, tasks_done: int = 0, **fields: Any) -> None:
        here = self._rng.random() < 0.5 or "pid_started_at" in fields
        status = RunStatus(
            state=state,
            num_tasks=run.num_tasks,
            num_epochs=NUM_EPOCHS,
            tasks_done=tasks_done,
            pid=self._process.pid,
            pid_started_at=self._process.create_time(),
            host=socket.gethostname() if here else "elsewhere",
            device="cpu",
            started_at=time.time(),
            heartbeat_at=time.time(),
            epochs_per_s=2.5 if state == "running" else None,
            note=self._rng.choice([None, None, "a checkpoint was damaged"]),
        )
        run.dir.write_status(replace(status, **fields))
        run.state = state


class DashboardUnderTest(Dashboard):
    """A dashboard whose commands neither quit nor write files."""

    def __init__(self, runs_dir: Path) -> None:
        super().__init__(RunsReader(runs_dir).read, refresh_s=0.05)
        self.failures: list[Exception] = []

    async def action_quit(self) -> None: ...

    def action_plot(self) -> None: ...

    def action_picture(self) -> None: ...

    def deliver_screenshot(self, *_: Any, **__: Any) -> None: ...

    def on_snapshot_failed(self, message: SnapshotFailed) -> None:
        if not isinstance(message.error, OSError):  # only the disk may fail
            self.failures.append(message.error)
        super().on_snapshot_failed(message)


def all_keys() -> list[str]:
    """Return every bound key; keys that open and leave views occur more often."""
    screens = (OverviewScreen, SeedsScreen, CompareScreen, LogScreen, FrameScreen, HelpScreen, Question)
    bindings = [binding for owner in (*screens, Prompt, Dashboard) for binding in owner.BINDINGS]
    keys = {binding.key for binding in Binding.make_bindings(bindings)} - EXCLUDED_KEYS
    return [*sorted(keys), *["escape", "e", "c", "l"] * 4, *["enter", "S", "R"] * 2]


def closed_prompt_has_focus(app: Dashboard) -> bool:
    """Return whether a closed prompt has the focus, so that keys would have no visible effect."""
    return isinstance(app.focused, PromptInput) and not app.screen.query_one(Prompt).is_open


async def press_at_random(
    pilot: Pilot[bool], app: DashboardUnderTest, rng: random.Random, pressed: list[str]
) -> list[float]:
    """Press keys and resize until the time is over; return 60 samples of the used memory (MiB)."""
    keys, process, screens = all_keys(), psutil.Process(), Counter[str]()
    began, used = time.monotonic(), []
    while (passed_s := time.monotonic() - began) < SECONDS:
        pressed.append(rng.choice(keys))
        if isinstance(app.screen, CommandPalette) and "page" in pressed[-1]:
            pressed[-1] = "escape"  # Textual's palette cannot be paged before its first layout
        await pilot.press(pressed[-1])
        if rng.random() < 0.01:
            app.change(query="")  # a filter that matches nothing would keep the app on the first screen
        if rng.random() < 0.05:
            pressed.append(f"{rng.randint(1, 250)} x {rng.randint(1, 80)}")
            width, _, height = pressed[-1].split()
            await pilot.resize_terminal(int(width), int(height))
        assert app.is_running
        assert not closed_prompt_has_focus(app)
        if app.failures:
            raise app.failures[0]
        if (error := app.status().error) and not isinstance(error, OSError):
            raise error
        screens[type(app.screen).__name__] += 1
        if passed_s > len(used) * SECONDS / 60:
            gc.collect()
            used.append(process.memory_info().rss / 2**20)
    print(f"{len(pressed)} keys; on {dict(screens)}")
    return used


async def reset_to_the_overview(pilot: Pilot[bool], app: DashboardUnderTest) -> None:
    """Return to the overview with default settings."""
    await pilot.resize_terminal(160, 48)
    while len(app.screen_stack) > 1:
        await pilot.press("escape")
    await pilot.press(*["escape"] * 4)
    if app.status().replay:
        await pilot.press("y")
    if app.paused:
        await pilot.press("space")
    app.change(query="")


def shows_all_runs_correctly(app: DashboardUnderTest, world: World) -> bool:
    """Return whether each run is shown in its state, and with the same records as a new reader gives."""
    view = app.view
    if view is None or {run.dir: run.state for run in view.runs} != {run.dir: run.state for run in world.runs.values()}:
        return False
    for run, now in zip(view.runs, RunsReader(view.runs_dir).read().runs, strict=True):
        if run.problem is None and not np.array_equal(run.seconds, now.seconds):
            return False
        if run.problem is None and not all(
            np.array_equal(run.series[name], now.series[name], equal_nan=True) for name in run.series | now.series
        ):
            return False
    labels = [row.key.value for row in app.screen.query_one(RunsTable).ordered_rows]
    summary = f"{len(world.runs)} run{'s' * (len(world.runs) > 1)}: {describe_states(count_states(view.runs))}"
    return labels == [row.label for row in view.rows] and summary in str(app.screen.query_one(StatusLine).render())


@pytest.mark.timeout(SECONDS + 200)
@pytest.mark.long
async def test_the_dashboard_survives_random_keys_and_changes_and_shows_the_runs_correctly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for module in ("app", "pilot"):  # do not wait for an idle processor, which never occurs here
        monkeypatch.setattr(f"textual.{module}.wait_for_idle", lambda _: asyncio.sleep(0.005))
    monkeypatch.setattr(Question, "dismiss", lambda self, _: ModalScreen.dismiss(self, False))  # always answer no
    Path("runs").mkdir()
    world, app, pressed = World(Path("runs"), SEED), DashboardUnderTest(Path("runs")), list[str]()
    try:
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await first_frame(pilot)
            world.start()
            used = await press_at_random(pilot, app, random.Random(SEED), pressed)
            world.stopping.set()
            world.join()
            assert world.error is None
            await reset_to_the_overview(pilot, app)
            await until(pilot, lambda: shows_all_runs_correctly(app, world))
            assert not app.failures
    except BaseException:
        print(f"LOP_SOAK_SEED={SEED}, {len(pressed)} keys, the last ones:", *pressed[-200:])
        raise
    finally:
        world.stopping.set()
    print(f"the world: {dict(world.actions)}; memory, MiB:", *(f"{one:.1f}" for one in used))
    if IS_LONG:
        assert median(used[-6:]) < 1.1 * median(used[12:18]) + 10
