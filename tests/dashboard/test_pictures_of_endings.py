"""Pictures of seeds that a rule ended, that diverged, or whose loss is too large."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.settings import Settings
from tests.dashboard.conftest import FAR_FUTURE, app_showing, pressing, read
from tests.dashboard.test_pictures import SIZES, THEMES
from tests.helpers import append_tasks, make_metrics, make_run

TASKS = 120


def make_ending(runs_dir: Path, method: str, seed: int, done: int, state: Any, not_finite_from: int = TASKS) -> None:
    """Make a run of `TASKS` tasks that ended after `done`.

    Its test accuracy is not finite from task `not_finite_from` on.
    """
    run_dir = make_run(runs_dir, method, seed, num_tasks=TASKS, tasks_done=0, state=state, heartbeat_at=FAR_FUTURE)
    metrics = make_metrics(method, TASKS, seed)
    metrics["test_accuracy"] = np.where(np.arange(TASKS) < not_finite_from, metrics["test_accuracy"], np.nan)
    append_tasks(run_dir, metrics, 0, done)
    rule = {"rule": "test_accuracy<0.6 for 20 tasks", "rule_task": done} if state == "ended-by-rule" else {}
    run_dir.write_status(replace(run_dir.read_status(), tasks_done=done, **rule))


@pytest.fixture
def endings(tmp_path: Path) -> Snapshot:
    make_ending(tmp_path, "bp", 0, 70, "ended-by-rule")
    make_ending(tmp_path, "bp", 1, 85, "ended-by-rule")
    make_ending(tmp_path, "bp", 2, TASKS, "finished")
    make_ending(tmp_path, "cbp", 0, TASKS, "finished", not_finite_from=90)
    make_ending(tmp_path, "cbp", 1, 40, "diverged")
    make_ending(tmp_path, "l2", 0, 60, "running")
    make_run(tmp_path, "l2", 1, num_tasks=TASKS, state="queued", tasks_done=0)
    return read(tmp_path)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "200x60"])
def test_overview(snap_compare: Any, endings: Snapshot, size: tuple[int, int], theme: str) -> None:
    app = app_showing(endings, settings=Settings(theme=theme, markers="braille"))
    assert snap_compare(app, terminal_size=size, run_before=pressing())


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "200x60"])
def test_seeds(snap_compare: Any, endings: Snapshot, size: tuple[int, int]) -> None:
    app = app_showing(endings, settings=Settings(markers="braille"))
    assert snap_compare(app, terminal_size=size, run_before=pressing("down", "e"))
