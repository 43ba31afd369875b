"""How it looks, kept as pictures. After a wanted change: pytest tests/dashboard --snapshot-update, and look at them."""

from pathlib import Path
from typing import Any

import pytest

from lop_engine.experiment import seen
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.settings import Settings
from tests.dashboard.conftest import app_showing, pressing, read, unreadable
from tests.toys import REGRESSION, STREAM, make_toy

SIZES = [(80, 24), (120, 40), (200, 60)]
THEMES = ["textual-dark", "textual-light"]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "200x60"])
def test_overview(snap_compare: Any, eleven_runs: Snapshot, size: tuple[int, int], theme: str) -> None:
    app = app_showing(unreadable(eleven_runs), settings=Settings(theme=theme, markers="braille"))
    assert snap_compare(app, terminal_size=size, run_before=pressing("down", "left", "left"))


VIEWS = {
    "enlarged": ["4", "s", "plus"],
    "seeds": ["down", "e", "down", "left"],
    "comparison": ["c"],
    "help": ["question_mark"],
    "filter": ["slash", *"sed:3"],
}


@pytest.mark.parametrize(("size", "theme"), zip(SIZES, ["textual-light", "textual-dark", "textual-light"], strict=True))
@pytest.mark.parametrize("view", VIEWS)
def test_views(snap_compare: Any, eleven_runs: Snapshot, view: str, size: tuple[int, int], theme: str) -> None:
    app = app_showing(eleven_runs, settings=Settings(theme=theme, markers="braille", smoothing=3))
    assert snap_compare(app, terminal_size=size, run_before=pressing(*VIEWS[view]))


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_another_problem(
    snap_compare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(seen, "_remembered", {kind: {} for kind in seen._remembered})
    for seed in range(3):
        make_toy(tmp_path, "fast", seed, num_tasks=120)
        make_toy(
            tmp_path, "slow", seed, num_tasks=120, tasks_done=60, components=REGRESSION | {"method": {"name": "bp"}}
        )
    make_toy(tmp_path, "stream", components=STREAM)
    app = app_showing(read(tmp_path), settings=Settings(markers="braille"))
    assert snap_compare(app, terminal_size=size, run_before=pressing("left", "left"))


@pytest.mark.parametrize("markers", ["blocks", "ascii"])
def test_markers(snap_compare: Any, eleven_runs: Snapshot, markers: Any) -> None:
    app = app_showing(eleven_runs, settings=Settings(markers=markers))
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing())


def test_no_runs(snap_compare: Any) -> None:
    app = app_showing(Snapshot(Path("runs")))
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing())
