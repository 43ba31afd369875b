"""Pictures of the dashboard, from real runs.

``python -m pages.pictures watch RUNS_DIR`` records `lop watch` until the runs of a directory end, and writes
docs/watch.svg. ``python -m pages.pictures views RUNS_DIR`` writes the pictures of docs/dashboard.md.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from lop_engine.runs.reading import RunsReader
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.settings import Settings
from pages import DOCS
from pages.svg import Frame, draw

WATCH_SIZE, VIEW_SIZE = (108, 33), (140, 42)
LOOK_EVERY_S = 2.0
STEPS = 36
"""Frames of the training, at even steps of tasks done."""
FRAME_S, KEY_S = 0.35, 2.5
"""How long a frame of the training stays, and one that follows a key."""
KEYS = ["shift+left", "c"]
"""Pressed when the training has ended."""
VIEWS = {"dashboard": ["left", "shift+left"], "dashboard-seeds": ["e", "left"], "dashboard-compare": ["c"]}
"""Pictures of docs/dashboard.md by the keys that lead to them."""


def rows_of(app: Dashboard) -> Frame:
    """The text on the screen with its colours, as `svg.draw` takes it."""
    rows = []
    for strip in app.screen._compositor.render_strips():
        row: list[list[Any]] = []
        for text, style, _ in strip:
            colours = [_hex(style and style.color, "#e0e0e0"), _hex(style and style.bgcolor, "#121212")]
            look = [*(reversed(colours) if style and style.reverse else colours), bool(style and style.bold)]
            if row and row[-1][1:] == look:
                row[-1][0] += text
            else:
                row.append([text, *look])
        rows.append(row)
    return rows


def _hex(colour: Any, otherwise: str) -> str:
    return colour.get_truecolor().hex if colour and not colour.is_default else otherwise


def _dashboard(runs_dir: Path) -> Dashboard:
    return Dashboard(RunsReader(runs_dir).read, settings=Settings(markers="braille"))


async def record(runs_dir: Path) -> tuple[list[tuple[int, Frame]], list[Frame]]:
    """Frames of the training, each with the number of tasks that the runs have done in all, and one after each key."""
    app = _dashboard(runs_dir)
    training: list[tuple[int, Frame]] = []
    async with app.run_test(size=WATCH_SIZE) as pilot:
        while not (app.view and app.view.groups and app.view.all_ended):
            await pilot.pause(LOOK_EVERY_S)
            done = sum(run.tasks_done for group in app.view.groups for run in group.runs) if app.view else 0
            training.append((done, rows_of(app)))
        after = []
        for key in ["", *KEYS]:
            if key:
                await pilot.press(key)
            await pilot.pause(2 * LOOK_EVERY_S)
            after.append(rows_of(app))
    return training, after


def animate(training: list[tuple[int, Frame]], after: list[Frame]) -> str:
    """The animation: `STEPS` frames of the training, then those after keys."""
    last = training[-1][0]
    steps = [
        next(at for at, one in enumerate(training) if one[0] >= last * step / STEPS) for step in range(1, STEPS + 1)
    ]
    frames = [training[at][1] for at in dict.fromkeys(steps)]
    seconds = [FRAME_S] * len(frames) + [KEY_S] * len(after)
    return draw([*frames, *after], seconds, still=len(frames), title="lop watch: two methods in training")


async def take_views(runs_dir: Path) -> None:
    """Write the pictures of docs/dashboard.md."""
    for name, keys in VIEWS.items():
        app = _dashboard(runs_dir)
        async with app.run_test(size=VIEW_SIZE) as pilot:
            while app.view is None:
                await pilot.pause(0.1)
            for key in keys:
                await pilot.press(key)
                await pilot.pause(1)
            await pilot.pause(2)
            (DOCS / f"{name}.svg").write_text(app.export_screenshot(title="lop watch"))


if __name__ == "__main__":
    what, runs_dir = sys.argv[1], Path(sys.argv[2])
    if what == "watch":
        (DOCS / "watch.svg").write_text(animate(*asyncio.run(record(runs_dir))))
    else:
        asyncio.run(take_views(runs_dir))
