"""Replay: animate the dashboard from the first task to the latest."""

from collections.abc import Callable
from typing import Any

from textual.app import App

from lop_tui.dashboard.host import Host
from lop_tui.words.formats import rate

TICK_S = 0.2
DURATION_S = 30.0
"""Duration of a whole replay, at the default speed."""


class Replay:
    """Advances the task up to which runs are shown; pausing the dashboard pauses it.

    Args:
        last_task: the task at which it ends.
        end: called at the last task.
    """

    def __init__(self, app: App[Any], host: Host, last_task: int, end: Callable[[], None]) -> None:
        self._host, self._end = host, end
        self._last_task = last_task
        self._tasks_per_s = last_task / DURATION_S
        self._at = 1.0
        self._timer = app.set_interval(TICK_S, self._tick)
        self._tick()

    def describe(self, paused: bool) -> str:
        """``task 120 of 5000, 167 a second: < > speed, y ends``."""
        pace = "paused" if paused else rate(60 * self._tasks_per_s)
        return f"task {int(self._at)} of {self._last_task}, {pace}: < > speed, y ends"

    def change_speed(self, factor: float) -> None:
        """Change the speed, within limits."""
        self._tasks_per_s = min(max(self._tasks_per_s * factor, 0.2), 10.0 * self._last_task)

    def stop(self) -> None:
        """Stop advancing."""
        self._timer.stop()

    def _tick(self) -> None:
        if not self._host.paused:
            self._at = min(self._at + self._tasks_per_s * TICK_S, self._last_task)
            self._host.ask(replay_at=int(self._at))
            if self._at == self._last_task:
                self._end()
