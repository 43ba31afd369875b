"""What a person chose to see, kept for each runs directory; and what the present screen needs of the next frame."""

import hashlib
import locale
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from platformdirs import user_state_path
from pydantic import TypeAdapter, ValidationError

from lop_engine.errors import QueryError, UserError
from lop_engine.files import read_small, replacing
from lop_engine.runs.query import parse_query
from lop_tui.dashboard.drawing.canvas import Markers
from lop_tui.dashboard.drawing.chart import XUnit

Order = Literal["name", "value"]
Sort = Literal["seed", "state", "tasks", "last", "best", "drop", "dormant"]

BIN_SIZES = (None, 1, 2, 5, 10, 25, 50, 100, 250)
"""None: fitted to the range that is shown, the paper's 50 at most."""
SMOOTHINGS = (1, 3, 5, 9, 15)
X_UNITS: tuple[XUnit, ...] = ("tasks", "steps", "hours")
MARKERS: tuple[Markers, ...] = ("braille", "blocks", "ascii")
ORDERS: tuple[Order, ...] = ("name", "value")


@dataclass(frozen=True)
class Settings:
    """The choices that outlive the dashboard."""

    show_seeds: bool = False
    bin_size: int | None = None
    smoothing: int = 1
    """Bins in the running mean; 1 means no smoothing."""
    x_unit: XUnit = "tasks"
    other_scale: tuple[str, ...] = ()
    """Metrics drawn linearly instead of on their log scale, or the other way round."""
    show_published: bool = True
    markers: Markers | None = None
    """None: the best that the terminal can show."""
    theme: str = "textual-dark"
    query: str = ""
    """The filter, in the words of `lop_engine.runs.query`."""
    problem: str | None = None
    """Name of the problem shown, where there are runs of several; None: the one with the most runs."""
    metric: str | None = None
    """What the views of seeds and of differences show; None, or one that the problem shown lacks: its headline."""
    show_setting: bool | None = None
    """Show the setting under the cursor beside the charts; None: where the terminal is wide."""
    charts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """By problem, the metrics that were chosen, in their order."""
    order: Order = "name"
    """Of the settings in table and legend; ``value``: the best in the headline metric first."""
    pinned: tuple[str, ...] = ()
    """Labels of settings that come first and stay when another one is shown alone."""
    hidden: tuple[str, ...] = ()
    """Labels of settings whose lines are not drawn."""
    solo: str | None = None
    """Label of the setting that is shown alone, with the pinned ones."""
    sort: Sort = "seed"
    """Column by which the seed table is ordered, and whether from high to low."""
    descending: bool = False

    def charts_of(self, problem: str) -> tuple[str, ...] | None:
        """The metrics chosen for a problem, in their order; None for its default."""
        return dict(self.charts).get(problem)

    def drawn(self, labels: Sequence[str]) -> list[str]:
        """Which of the settings `labels` have lines in the charts."""
        if self.solo in labels:
            return [label for label in labels if label == self.solo or label in self.pinned]
        return [label for label in labels if label not in self.hidden]


@dataclass(frozen=True, init=False)
class Request:
    """Everything that decides what a frame holds, besides the runs.

    What views want of it are further arguments, and attributes that are None otherwise, see `registry.Part`.
    """

    settings: Settings
    window: tuple[float, float] | None
    """Range of the x axis that is shown, in its unit; None: all."""
    replay_at: int | None
    """Show the runs as they stood after this task."""
    wants: Mapping[str, Any]
    """What views want, by the name of the argument."""

    def __init__(
        self,
        settings: Settings = Settings(),
        window: tuple[float, float] | None = None,
        replay_at: int | None = None,
        wants: Mapping[str, Any] = MappingProxyType({}),
        **more: Any,
    ) -> None:
        requested = {name: one for name, one in (dict(wants) | more).items() if one is not None}
        for name, value in (("settings", settings), ("window", window), ("replay_at", replay_at), ("wants", requested)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """What a view wants by that name; None if it wants nothing."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self.wants.get(name)


_SETTINGS = TypeAdapter(Settings)


def settings_path(runs_dir: Path) -> Path:
    """The file of one runs directory, in the user's own state directory: runs may be shared, views are not."""
    resolved = runs_dir.resolve()
    digest = hashlib.sha256(str(resolved).encode(errors="surrogateescape")).hexdigest()[:12]
    return user_state_path("lop") / "watch" / f"{resolved.name or 'root'}-{digest}.json"


def load_settings(runs_dir: Path) -> Settings:
    """What was chosen last; the defaults where nothing, or nothing sensible, is kept."""
    with suppress(OSError, ValidationError, UserError):
        settings = _SETTINGS.validate_json(read_small(settings_path(runs_dir), 2**20))
        if settings.bin_size in BIN_SIZES and settings.smoothing in SMOOTHINGS:
            return replace(settings, query=_valid(settings.query))
    return Settings()


def _valid(query: str) -> str:
    """A filter, or none if it is not valid, such as one on a metric that is not known here."""
    with suppress(QueryError):
        parse_query(query)
        return query
    return ""


def save_settings(runs_dir: Path, settings: Settings) -> None:
    """Save `settings`; ignore a directory that cannot be written."""
    path = settings_path(runs_dir)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(_SETTINGS.dump_json(settings, indent=2))


def usual_markers() -> Markers:
    """The markers that this terminal can show: a Linux console has no braille, and some terminals only ASCII."""
    encoding = getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False)
    if "utf" not in encoding.lower():
        return "ascii"
    return "blocks" if os.environ.get("TERM") == "linux" else "braille"


T = TypeVar("T")


def after(choices: Sequence[T], present: T, direction: int = 1) -> T:
    """The next choice (or the one before), after the last the first; the first also for an unknown value."""
    if present not in choices:
        return choices[0]
    return choices[(choices.index(present) + direction) % len(choices)]
