"""Each view declares what it needs in a frame, its part of the frame, its screen and its key."""

from pathlib import Path

import pytest

from lop_tui.dashboard import registry
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.settings import Request
from tests.dashboard.conftest import until
from tests.helpers import ROOT

DASHBOARD = ROOT / "lop_tui/dashboard"


def test_a_frame_contains_only_the_requested_parts(eleven_runs):
    for wants, names in (({}, set()), ({"heat_of": "bp"}, {"seeds"}), ({"compare": ("bp", "cbp")}, {"difference"})):
        view = build_view(eleven_runs, Request(**wants))
        assert view.parts.keys() == names
        for part in registry.parts():
            assert (getattr(view, part.name) is not None) == (part.name in names)


def test_only_the_folder_of_a_view_names_its_part_of_a_request():
    """The registry is excepted, because it lists the views."""
    modules = [path for path in DASHBOARD.rglob("*.py") if path.name != "registry.py"]
    for part in registry.parts():
        naming = {path.relative_to(DASHBOARD).parts[:2] for path in modules if _names(path, part.argument)}
        assert len(naming) == 1
        assert naming < {("views", view.name) for view in registry.VIEWS}


def _names(path: Path, argument: str) -> bool:
    text = path.read_text()
    return f'"{argument}"' in text or f"request.{argument}" in text


@pytest.mark.parametrize("view", [one for one in registry.VIEWS if one.key])
async def test_the_key_of_a_view_opens_its_screen(eleven_runs, view):
    app = Dashboard(lambda: eleven_runs)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.view is not None)
        await pilot.press(view.key)
        await until(pilot, lambda: isinstance(app.screen, registry.screens()[view.name]))
        assert view.key in app.key_table()[0][1]
