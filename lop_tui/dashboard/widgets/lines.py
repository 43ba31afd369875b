"""The status line at the top, and the lines of machine usage and keys at the bottom."""

from dataclasses import dataclass

from rich.style import Style
from rich.text import Text
from textual.widgets import Footer, Static

from lop_engine.errors import sentence, why
from lop_engine.experiment import lookup
from lop_engine.machine.usage import Usage
from lop_engine.runs.logs import clean
from lop_engine.text import byte_size
from lop_tui.dashboard.advice import closing_hint
from lop_tui.dashboard.keys import PROBLEM_KEY
from lop_tui.dashboard.model import View
from lop_tui.dashboard.table import describe_states
from lop_tui.words.console import plural
from lop_tui.words.formats import duration, shortened

_MOST_TITLE = (40, 24, 14)


@dataclass(frozen=True)
class Status:
    """Content of the status line."""

    view: View | None = None
    paused: bool = False
    error: Exception | None = None
    replay: str = ""
    """Speed of the running replay."""


class StatusLine(Static):
    """Left: directory and runs; right: what the charts show, or why they are not updated."""

    def __init__(self) -> None:
        super().__init__()
        self._status = Status()
        self._page = ""
        self._drawn = Text()

    def show(self, status: Status, page: str) -> None:
        """Update the line; `page` names the visible part of the view."""
        if (status, page) != (self._status, self._page):
            self._status, self._page = status, page
            self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        width = self.content_size.width
        for full_states in (True, False):
            left = self._left(full_states)
            if left.cell_len + len(self._page) + 2 <= width:
                break
        right = self._right(width - left.cell_len - 1)
        urgent = self._status.paused or self._status.error or self._status.replay
        if left.cell_len + right.cell_len + 2 > width and not urgent:
            right = Text()
        left.truncate(max(0, width - right.cell_len - bool(right.cell_len)), overflow="ellipsis")
        line = left.append(" " * (width - left.cell_len - right.cell_len)).append(right)
        if line != self._drawn:
            self._drawn = line
            self.update(line, layout=False)

    def _left(self, full_states: bool) -> Text:
        view = self._status.view
        if view is None:
            return Text("reading the runs …")
        line = Text().append(view.place, style="bold")
        if view.num_runs:
            runs = "run" if view.num_runs == 1 else "runs"
            line.append(f"  {view.num_runs} {runs}: ")
            line.append(describe_states(view.states, full_states, coloured=not self.app.no_color))
        if view.eta_s is not None:
            line.append(f"  all done in {duration(view.eta_s)}")
        if view.request.settings.query:
            line.append("  filter: ").append(view.request.settings.query, style="bold")
            line.append(f" ({view.num_hidden} hidden)")
        return line

    def _right(self, room: int) -> Text:
        status = self._status
        if status.error:
            return Text(f" cannot show the runs, trying again: {_short(status.error)} ", style="reverse")
        if status.replay:
            return Text(f" REPLAY {status.replay} ", style="reverse")
        if status.paused:
            return Text(" PAUSED: space continues ", style="reverse")
        if status.view and status.view.has_ends_only:
            return Text(" reading the curves ... ", style="reverse")
        page = Text(self._page, style="dim")
        if status.view and status.view.all_ended and len(hint := closing_hint(status.view)) < room:
            both = Text().append(hint, style="italic").append("   ").append_text(page)
            return both if self._page and both.cell_len < room else both[: len(hint)]
        return page


def _short(error: Exception, width: int = 40) -> str:
    text = sentence(error) if isinstance(error, OSError) else why(error)
    return text if len(text) <= width else f"{text[: width - 1]}…"


class ProblemTabs(Static):
    """One line: the problem shown and the others, with their numbers of runs; hidden if there is only one."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._tabs: tuple[tuple[str, int, bool], ...] = ()
        self.display = False

    def show(self, view: View) -> None:
        """Update the line."""
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
            title = shortened(clean(lookup.problem(name).title), most)
            click = Style.from_meta({"@click": f"app.show_problem({name!r})"})
            look = Style(reverse=True) if is_shown else Style(dim=True)
            line.append(f" {title} ({plural(num_runs, 'run')}) ", style=look + click).append(" ")
        return line.append(f" {PROBLEM_KEY}: next", style="dim")


def problems(view: View) -> tuple[tuple[str, int, bool], ...]:
    """Return name, number of runs, and whether it is shown, for each problem; in the same order whichever is shown."""
    tabs = [
        (view.shown.problem.name, view.num_runs, True),
        *((name, number, False) for name, number in view.shown.others),
    ]
    first = min(range(len(tabs)), key=lambda place: tabs[place][0])
    return (*tabs[first:], *tabs[:first])


class SystemLine(Static):
    """One line; parts that do not fit are dropped, those of the machine first."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: Usage | None = None

    def show(self, usage: Usage | None) -> None:
        """Update the line."""
        if usage != self._usage:
            self._usage = usage
            self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        parts = describe_usage(self._usage) if self._usage else []
        while parts and len("   ".join(parts)) > self.content_size.width:
            parts.pop()
        self.update(Text("   ".join(parts), style="dim"), layout=False)


def describe_usage(usage: Usage) -> list[str]:
    """Return the usage of workers, GPUs and machine, the most important first."""
    parts = []
    if usage.num_workers:
        workers = "1 worker" if usage.num_workers == 1 else f"{usage.num_workers} workers"
        parts.append(f"{workers}: {usage.workers_cpu:.1f} cores, {byte_size(usage.workers_memory_bytes)}")
    for gpu in usage.gpus:
        used = f"{byte_size(gpu.memory_used_bytes)} of {byte_size(gpu.memory_total_bytes)}"
        busy = "?" if gpu.utilisation is None else f"{gpu.utilisation:.0%}"
        parts.append(f"{gpu.name} {busy}, {used}")
    used = f"{byte_size(usage.memory_used_bytes)} of {byte_size(usage.memory_total_bytes)}"
    parts.append(f"machine: CPU {usage.cpu:.0%}, memory {used}")
    return parts


class KeyLine(Footer):
    """Textual's footer without its leak: `Footer` keeps all keys it ever showed until `compact` changes.

    Opening and closing a screen 60 times leaves 247 widgets with `Footer` of Textual 8.2.8, and 7 with this class:
    https://github.com/Textualize/textual/issues/6666.
    """

    async def recompose(self) -> None:
        """Show the current keys, and drop the previous ones."""
        await super().recompose()
        self.mutate_reactive(Footer.compact)
