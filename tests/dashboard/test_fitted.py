"""Text widgets whose size follows their content."""

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from lop_tui.dashboard.widgets.fitted import FittedText


class Showing(App[None]):
    def __init__(self, text: Static) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        yield VerticalScroll(self._text)


@pytest.mark.parametrize(("kind", "height"), [(FittedText, 3), (Static, 1)], ids=["ours", "Textual's"])
async def test_the_second_of_two_updates_is_measured_after_a_layout_between_them(kind: type[Static], height: int):
    """The second case shows the fault of Textual that FittedText works around.

    When it fails, FittedText can be removed.
    """
    text = kind()
    app = Showing(text)
    async with app.run_test() as pilot:
        text.update("one line")
        app.screen._refresh_layout()
        text.update("three\nlines of\ntext")
        await pilot.pause(0.1)
        assert text.region.height == height
