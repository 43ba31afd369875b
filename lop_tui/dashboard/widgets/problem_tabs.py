"""The problems of a directory, a tab each."""

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from lop_engine.experiment import seen
from lop_engine.runs.logs import clean
from lop_tui.dashboard.keys import PROBLEM_KEY
from lop_tui.dashboard.model import View
from lop_tui.words.console import plural
from lop_tui.words.formats import shortened

_MOST_TITLE = (40, 24, 14)


class ProblemTabs(Static):
    """One line: the problem shown and the others, each with its runs; hidden where there is one alone."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._tabs: tuple[tuple[str, int, bool], ...] = ()
        self.display = False

    def show(self, view: View) -> None:
        """Bring the line up to date."""
        tabs = problems(view)
        if tabs != self._tabs:
            self._tabs = tabs
            self.display = len(tabs) > 1
            self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        for most in _MOST_TITLE:
            line = self._line(self._tabs, most)
            if line.cell_len <= self.content_size.width:
                break
        else:  # begin with the problem that is shown
            shown = next((place for place, tab in enumerate(self._tabs) if tab[2]), 0)
            line = self._line((*self._tabs[shown:], *self._tabs[:shown]), _MOST_TITLE[-1])
            line.truncate(self.content_size.width, overflow="ellipsis")
        self.update(line)

    def _line(self, tabs: tuple[tuple[str, int, bool], ...], most: int) -> Text:
        line = Text(no_wrap=True)
        for name, num_runs, is_shown in tabs:
            title = shortened(clean(seen.problem(name).title), most)
            click = Style.from_meta({"@click": f"app.show_problem({name!r})"})
            look = Style(reverse=True) if is_shown else Style(dim=True)
            line.append(f" {title} ({plural(num_runs, 'run')}) ", style=look + click).append(" ")
        return line.append(f" {PROBLEM_KEY}: next", style="dim")


def problems(view: View) -> tuple[tuple[str, int, bool], ...]:
    """Name, number of runs, and whether it is shown, of each problem; the order is the same whichever is shown."""
    tabs = [
        (view.shown.problem.name, view.num_runs, True),
        *((name, number, False) for name, number in view.shown.others),
    ]
    first = min(range(len(tabs)), key=lambda place: tabs[place][0])
    return (*tabs[first:], *tabs[:first])
