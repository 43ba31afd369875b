"""The keys at the foot of a view."""

import gc
from pathlib import Path

from textual.widgets._footer import FooterKey

from lop_engine.runs import Snapshot
from tests.dashboard.conftest import app_showing, first_frame, read
from tests.helpers import make_run


def two_runs(tmp_path: Path) -> Snapshot:
    for method in ("bp", "cbp"):
        make_run(tmp_path, method)
    return read(tmp_path)


async def test_views_left_on_keep_no_keys_that_are_gone(tmp_path: Path) -> None:
    async with app_showing(two_runs(tmp_path)).run_test() as pilot:
        app = await first_frame(pilot)
        for opens in ("question_mark", "e", "c", "l"):
            await pilot.press(opens)
            for _ in range(10):
                app.screen.refresh_bindings()
                await pilot.pause()
            await pilot.press("escape")
        shown = len(app.screen.query(FooterKey))
        gc.collect()
        assert 0 < sum(isinstance(one, FooterKey) for one in gc.get_objects()) < 4 * shown


async def test_the_keys_are_those_of_the_moment(tmp_path: Path) -> None:
    async with app_showing(two_runs(tmp_path)).run_test() as pilot:
        app = await first_frame(pilot)
        await pilot.press("l")
        for key, offered in (("slash", False), ("x", False), ("enter", True), ("escape", False)):
            await pilot.press(key)
            await pilot.pause()
            assert ("Next match" in {one.description for one in app.screen.query(FooterKey)}) is offered
