"""A grid of coloured characters that can be drawn over before it becomes text."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from rich.color import Color
from rich.style import Style
from rich.text import Span, Text

Markers = Literal["braille", "blocks", "ascii"]
Rgb = tuple[int, int, int]

NONE = -1
"""No colour. Other colours in a canvas are 0xrrggbb."""
_ESCAPE = re.compile("\x1b\\[([0-9;]*)m")


@dataclass(frozen=True)
class Ink:
    """Colours of everything except lines; if not `coloured`, only characters tell lines apart."""

    background: Rgb = (0, 0, 0)
    axes: Rgb = (128, 128, 128)
    coloured: bool = True
    markers: Markers = "braille"
    """Return the characters that lines are made of; `ascii`: use only ASCII."""

    @property
    def ascii(self) -> bool:
        return self.markers == "ascii"


@dataclass(frozen=True)
class PlotArea:
    """The area of a text where data are drawn, in cells; the x axis begins and ends in the middle of a column."""

    left: int
    top: int
    columns: int
    rows: int

    @property
    def fits(self) -> bool:
        """Whether anything fits."""
        return self.columns >= 2 and self.rows >= 1

    def x_at(self, column: float, window: tuple[float, float]) -> float:
        """Return the x in the middle of a column, counted from the left edge of the text; always within `window`."""
        share = (column - self.left) / max(1, self.columns - 1)
        return window[0] + min(max(share, 0.0), 1.0) * (window[1] - window[0])

    def column_of(self, x: float, window: tuple[float, float]) -> int | None:
        """Return the column of the text that shows `x`; None if `x` is outside `window`."""
        if not window[0] <= x <= window[1] or self.columns < 1:
            return None
        share = (x - window[0]) / (window[1] - window[0]) if window[1] > window[0] else 0.0
        return self.left + int(np.floor(np.round(0.5 + share * (self.columns - 1), 8)))


@dataclass(frozen=True)
class Canvas:
    """Characters with colours; all arrays have shape (rows, columns)."""

    chars: np.ndarray
    foreground: np.ndarray
    """0xrrggbb, or NONE for the text's default."""
    background: np.ndarray
    """0xrrggbb, or NONE."""

    @classmethod
    def blank(cls, width: int, height: int) -> "Canvas":
        shape = (max(0, height), max(0, width))
        return cls(np.full(shape, " "), *(np.full(shape, NONE, dtype=np.int64) for _ in range(2)))

    @classmethod
    def from_ansi(cls, text: str, width: int, height: int) -> "Canvas":
        """Read characters and foreground colours from a text with ANSI escapes, cut or padded to the given size."""
        canvas = cls.blank(width, height)
        for row, line in enumerate(text.split("\n")[:height]):
            parts = _ESCAPE.split(line)
            plain = "".join(parts[::2])[:width]
            canvas.chars[row, : len(plain)] = list(plain)
            column = len(parts[0])
            for escape, part in zip(parts[1::2], parts[2::2], strict=True):
                canvas.foreground[row, column : column + len(part)] = _colour_of(escape)
                column += len(part)
        return canvas

    def copy(self) -> "Canvas":
        """Return a copy of the cells, to draw on."""
        return Canvas(self.chars.copy(), self.foreground.copy(), self.background.copy())

    def part(self, area: PlotArea) -> "Canvas":
        """Return the cells of `area` as a view: drawing on it changes the whole."""
        cells = np.s_[area.top : area.top + area.rows, area.left : area.left + area.columns]
        return Canvas(self.chars[cells], self.foreground[cells], self.background[cells])

    @property
    def is_blank(self) -> np.ndarray:
        """Return the mask of cells without a character."""
        return self.chars == " "

    def put(self, where: np.ndarray, chars: str | np.ndarray, colour: int | np.ndarray) -> None:
        """Write `chars` in `colour` into the cells of the mask `where`; both may be arrays of the canvas' shape."""
        for target, source in ((self.chars, chars), (self.foreground, colour)):
            target[where] = source[where] if isinstance(source, np.ndarray) else source

    def write(self, row: int, column: int, string: str, colour: int = NONE) -> None:
        """Write `string` to the right from a cell, as far as there is room."""
        if 0 <= row < self.chars.shape[0] and 0 <= column < self.chars.shape[1]:
            string = string[: self.chars.shape[1] - column]
            self.chars[row, column : column + len(string)] = list(string)
            self.foreground[row, column : column + len(string)] = colour

    def to_text(self, ink: Ink) -> Text:
        """Return the lines as one text, with a span for each sequence of cells that look the same."""
        height, width = self.chars.shape
        # Line ends are cells too, so that a sequence of equal cells continues over them.
        chars = np.full((height, width + 1), "\n")
        colours = np.full((2, height, width + 1), NONE, dtype=np.int64)
        chars[:, :-1], colours[0, :, :-1], colours[1, :, :-1] = self.chars, self.foreground, self.background
        plain = "".join(chars.ravel().tolist())[:-1]
        if not ink.coloured or not plain:
            return Text(plain, no_wrap=True)
        foreground, background = colours.reshape(2, -1)
        foreground = _fill_forward(foreground, (chars != " ").ravel() & (chars != "\n").ravel())
        changes = (np.diff(foreground) != 0) | (np.diff(background) != 0)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        ends = np.append(starts[1:], len(plain))
        runs = zip(
            starts.tolist(), ends.tolist(), foreground[starts].tolist(), background[starts].tolist(), strict=True
        )
        spans = [Span(a, b, _style(over, under)) for a, b, over, under in runs if (over, under) != (NONE, NONE)]
        return Text(plain, style=_style(pack(ink.axes), NONE), no_wrap=True, spans=spans)


def pack(colours: Rgb | np.ndarray) -> int:
    """Pack colours of shape (..., 3) as 0xrrggbb: a number for a single colour, else an array of shape (...)."""
    parts = np.rint(np.asarray(colours, dtype=float)).astype(np.int64)
    packed = (parts[..., 0] << 16) | (parts[..., 1] << 8) | parts[..., 2]
    return packed if packed.ndim else int(packed)


def unpack(colours: np.ndarray) -> np.ndarray:
    """Unpack 0xrrggbb, shape (...), to floats of shape (..., 3)."""
    return np.stack([(colours >> shift) & 255 for shift in (16, 8, 0)], axis=-1).astype(float)


def rgb(colour: str) -> Rgb:
    """Return the three parts of ``#rrggbb``."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def blend(colour: Rgb, background: Rgb, opacity: float) -> Rgb:
    """Blend `colour` over `background`."""
    red, green, blue = (
        round(opacity * over + (1 - opacity) * under) for over, under in zip(colour, background, strict=True)
    )
    return red, green, blue


def _fill_forward(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Replace each unknown value by the last known one before it: a blank may have any foreground."""
    index = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    return values[index]


@lru_cache(maxsize=4096)
def _style(foreground: int, background: int) -> Style:
    colours = (
        None if colour == NONE else Color.from_rgb(colour >> 16, (colour >> 8) & 255, colour & 255)
        for colour in (foreground, background)
    )
    return Style.from_color(*colours)


@lru_cache(maxsize=256)
def _colour_of(escape: str) -> int:
    """Return ``38;2;r;g;b`` as 0xrrggbb; NONE for anything else."""
    kind, _, parts = escape.partition("38;2;")
    return NONE if kind or not parts else pack(tuple(map(int, parts.split(";"))))  # type: ignore[arg-type]
