"""The user's choices, saved for each runs directory; and what the current screen needs of the next frame."""

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
from lop_engine.files import read_small, replacing, resolved
from lop_engine.runs.query import parse_query
from lop_tui.dashboard.drawing.canvas import Markers
from lop_tui.dashboard.drawing.chart import XUnit

Order = Literal["name", "value"]
Sort = Literal["seed", "state", "tasks", "last", "best", "drop", "dormant"]

BIN_SIZES = (None, 1, 2, 5, 10, 25, 50, 100, 250)
"""None: fitted to the visible range, at most the paper's 50."""
SMOOTHINGS = (1, 3, 5, 9, 15)
X_UNITS: tuple[XUnit, ...] = ("tasks", "steps", "hours")
MARKERS: tuple[Markers, ...] = ("braille", "blocks", "ascii")
ORDERS: tuple[Order, ...] = ("name", "value")


@dataclass(frozen=True)
class Settings:
    """Choices that are saved when the dashboard ends."""

    show_seeds: bool = False
    bin_size: int | None = None
    smoothing: int = 1
    """Bins in the running mean; 1: no smoothing."""
    x_unit: XUnit = "tasks"
    other_scale: tuple[str, ...] = ()
    """Metrics whose scale is switched from log to linear or the other way round."""
    show_published: bool = True
    markers: Markers | None = None
    """None: the best markers that the terminal can show."""
    theme: str = "textual-dark"
    query: str = ""
    """The filter, in the language of `lop_engine.runs.query`."""
    problem: str | None = None
    """Name of the problem shown, if there are several; None: the one with the most runs."""
    metric: str | None = None
    """Metric of the views of seeds and of differences; None, or a metric that the problem lacks: its headline."""
    show_setting: bool | None = None
    """Show the setting under the cursor beside the charts; None: if the terminal is wide."""
    charts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """By problem, the chosen metrics, in order."""
    order: Order = "name"
    """Order of settings in table and legend; ``value``: the best in the headline metric first."""
    pinned: tuple[str, ...] = ()
    """Labels of settings that come first and remain when another one is shown alone."""
    hidden: tuple[str, ...] = ()
    """Labels of settings without lines."""
    solo: str | None = None
    """Label of the setting that is shown alone, apart from pinned ones."""
    sort: Sort = "seed"
    """Column that sorts the seed table, and whether from high to low."""
    descending: bool = False

    def charts_of(self, problem: str) -> tuple[str, ...] | None:
        """Return the metrics chosen for a problem, in order; None for its default."""
        return dict(self.charts).get(problem)

    def drawn(self, labels: Sequence[str]) -> list[str]:
        """Return those of the settings `labels` that have lines in the charts."""
        if self.solo in labels:
            return [label for label in labels if label == self.solo or label in self.pinned]
        return [label for label in labels if label not in self.hidden]


@dataclass(frozen=True, init=False)
class Request:
    """Everything that decides the content of a frame, besides the runs.

    Views add their own arguments, which are attributes that default to None, see `registry.Part`.
    """

    settings: Settings
    window: tuple[float, float] | None
    """The visible range of the x axis, in its unit; None: all."""
    replay_at: int | None
    """Show the runs as they were after this task."""
    wants: Mapping[str, Any]
    """Arguments of views, by name."""

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
        """Return the argument of a view by name; None if it was not given."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self.wants.get(name)


_SETTINGS = TypeAdapter(Settings)


def settings_path(runs_dir: Path) -> Path:
    """Return the file for one runs directory, in the user's state directory: runs may be shared, settings are not."""
    real = resolved(runs_dir)
    digest = hashlib.sha256(str(real).encode(errors="surrogateescape")).hexdigest()[:12]
    return user_state_path("lop") / "watch" / f"{real.name or 'root'}-{digest}.json"


def load_settings(runs_dir: Path) -> Settings:
    """Load the last choices; the defaults if there are none or they are invalid."""
    with suppress(OSError, ValidationError, UserError):
        settings = _SETTINGS.validate_json(read_small(settings_path(runs_dir), 2**20))
        if settings.bin_size in BIN_SIZES and settings.smoothing in SMOOTHINGS:
            return replace(settings, query=_valid(settings.query))
    return Settings()


def _valid(query: str) -> str:
    """Return a filter if it is valid, else "": it may name a metric that is unknown here."""
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
    """Return markers that this terminal can show: a Linux console has no braille, and some terminals only ASCII."""
    encoding = getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False)
    if "utf" not in encoding.lower():
        return "ascii"
    return "blocks" if os.environ.get("TERM") == "linux" else "braille"


T = TypeVar("T")


def after(choices: Sequence[T], present: T, direction: int = 1) -> T:
    """Return the next choice (or the previous one), cyclically; the first one for an unknown value."""
    if present not in choices:
        return choices[0]
    return choices[(choices.index(present) + direction) % len(choices)]
