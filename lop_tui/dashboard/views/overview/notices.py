"""Runs that failed, were lost or cannot be read."""

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import Static

from lop_tui.words.notices import Notice


class Notices(Static):
    """One line a run, the worst first; hidden when all is well."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[tuple[Notice, ...], int] = ((), 0)

    def show(self, notices: Sequence[Notice], most: int) -> None:
        """Show `most` lines at the most."""
        if self._shown == (tuple(notices), most):
            return
        self._shown = (tuple(notices), most)
        shown = notices if len(notices) <= most else notices[: max(1, most - 1)]
        lines = [Text.assemble((f"{notice.run}  ", "bold"), notice.text) for notice in shown]
        if len(shown) < len(notices) and most > 1:
            lines.append(Text(f"and {len(notices) - len(shown)} more", style="dim"))
        self.update(Text("\n", no_wrap=True, overflow="ellipsis").join(lines))
        self.display = bool(notices)
