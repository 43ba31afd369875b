"""Drive the workers of a plan, and show how they get on."""

import os
import signal
import threading
import time
from collections.abc import Set
from dataclasses import replace
from pathlib import Path
from types import FrameType

from lop_engine.launch import Launcher, LocalLauncher, Places, Plan
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader, pause_after
from lop_engine.runs.views import Snapshot
from lop_tui.commands.progress import open_display
from lop_tui.words.console import Console, say

POLL_S = 0.2
REFRESH_S = 0.5
HUNG_UP = 128 + signal.SIGHUP


class Supervisor(threading.Thread):
    """Drives the launcher, so that whatever shows on the screen cannot hold the workers up."""

    def __init__(self, launcher: Launcher) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._launcher = launcher
        self._stops_asked = 0
        self._terminal_is_gone = False
        self.error: Exception | None = None

    def take_reports(self) -> list[str]:
        """What has happened to workers since the last call."""
        return self._launcher.take_reports()

    @property
    def stopping(self) -> bool:
        return self._stops_asked > 0

    def ask_to_stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Once: workers save and stop. Twice: they are killed. A signal handler, too."""
        self._stops_asked += 1
        self._terminal_is_gone = self._terminal_is_gone or number == signal.SIGHUP

    def run(self) -> None:
        try:
            obeyed = 0
            while self._launcher.active:
                if self._stops_asked > obeyed:
                    obeyed = self._stops_asked
                    self._launcher.stop(at_once=obeyed > 1)
                self._launcher.poll()
                time.sleep(POLL_S)
        except Exception as error:  # whoever waits for this thread raises it
            self.error = error
            self._launcher.stop()
        if self._terminal_is_gone:
            # A screen without its terminal cannot be left in order, and there is nobody to tell anything.
            os._exit(HUNG_UP)


def supervise(
    console: Console, plan: Plan, dirs: Set[RunDir], runs_dir: Path, watch: bool, retries: int, workers: int | None
) -> bool:
    """Train a plan and show the progress of `dirs`; return False if it was stopped on the way.

    Args:
        watch: show the dashboard (of all `runs_dir`) first, where there is a terminal.
        retries: how often a run whose worker died is given to another.
        workers: their number, as given by `--workers`; None limits the workers of all commands over `runs_dir`
            together to one per core, and on each GPU to those planned.
    Raises:
        OSError: a worker could not be started; those that run are told to stop.
    """
    places = Places(runs_dir, plan.resources, is_limited=workers is None)
    supervisor = Supervisor(LocalLauncher(plan, retries, places=places))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, supervisor.ask_to_stop)
    supervisor.start()
    try:
        if watch and console.is_terminal:
            _show_dashboard(console, supervisor, runs_dir)
        _show_progress(console, supervisor, dirs, runs_dir, len(plan.resources.devices))
    except BaseException:  # nobody is left to look after the workers
        supervisor.ask_to_stop()
        supervisor.join()
        raise
    finally:
        places.clean()
    if supervisor.error:
        raise supervisor.error
    return not supervisor.stopping


def _show_dashboard(console: Console, supervisor: Supervisor, runs_dir: Path) -> None:
    from lop_tui.dashboard import run_dashboard

    if not run_dashboard(runs_dir, until=lambda view: not supervisor.is_alive()):
        say(console, "dashboard closed; training continues, Ctrl-C stops it")


def _show_progress(
    console: Console, supervisor: Supervisor, dirs: Set[RunDir], runs_dir: Path, num_workers: int
) -> None:
    reader = RunsReader(runs_dir)

    def read() -> Snapshot:
        snapshot = reader.read()
        return replace(snapshot, runs=tuple(view for view in snapshot.runs if view.dir in dirs))

    with open_display(console, num_workers) as display:
        alive = True
        while alive:
            alive = supervisor.is_alive()
            for report in supervisor.take_reports():
                say(console, report, style="red")
            began = time.thread_time()
            display.update(read(), supervisor.stopping)
            supervisor.join(pause_after(time.thread_time() - began, REFRESH_S))
