"""Screenshots that look the same in every SVG renderer, whatever fonts it has.

Rich's SVG sets a position and a length for each piece of text. Renderers that ignore the length, or drop spaces at its
ends, shift tick labels and lines. Here each word (for most renderers each letter) has a position, and lines,
braille and blocks are drawn as shapes.
"""

import re
from collections.abc import Iterator
from html import escape, unescape

from rich.cells import cell_len

from lop_tui.dashboard.drawing.raster import BRAILLE, QUADRANTS, Dots

WIDTH, HEIGHT = 12.2, 24.4
"""Size of a cell in Rich's SVG."""
_BASELINE = 18.5
"""Distance from the top of a cell."""
_THIN, _THICK = 1.4, 3.0
_FONT_FACE = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_TEXT = re.compile(
    r'<text class="([\w-]+-r\d+)" x="([\d.]+)" y="([\d.]+)" textLength="[\d.]+" (clip-path="[^"]*")>(.*?)</text>',
    re.DOTALL,
)
_WORD = re.compile(r"[^\s\xa0]+")
#: Box-drawing characters by the arms from the middle of their cell: left, right, up, down.
_ARMS = {
    "─": "lr", "━": "lr", "│": "ud", "┤": "lud", "├": "rud", "┼": "lrud", "┬": "lrd", "┴": "lru",
    "└": "ru", "┘": "lu", "┌": "rd", "┐": "ld", "╰": "ru", "╯": "lu", "╭": "rd", "╮": "ld",
}  # fmt: skip
Box = tuple[float, float, float, float]
"""Left, top, width and height."""


def portable(svg: str) -> str:
    """Return Rich's SVG with separately placed words and shapes; it loads no font from the network."""
    svg = _FONT_FACE.sub("", svg).replace("Fira Code, monospace", "monospace")
    return _TEXT.sub(_placed, svg)


def _placed(match: re.Match[str]) -> str:
    kind, x, y, clip, content = match.groups()
    left, baseline = float(x), float(y)
    boxes: list[Box] = []
    words: list[str] = []
    text = unescape(content)
    drawn = "".join("\xa0" if one in SHAPES else one for one in text)
    for word in _WORD.finditer(drawn):
        places = [left + WIDTH * cell_len(text[:at]) for at in range(word.start(), word.end())]
        listed = " ".join(f"{place:.5g}" for place in places)
        words.append(f'<text class="{kind}" x="{listed}" y="{y}" {clip}>{escape(word.group())}</text>')
    for at, one in enumerate(text):
        if one in SHAPES:
            cell = left + WIDTH * cell_len(text[:at]), baseline - _BASELINE
            boxes += ((cell[0] + a, cell[1] + b, c, d) for a, b, c, d in SHAPES[one])
    path = "".join(f"M{a:.5g} {b:.5g}h{c:.4g}v{d:.4g}h-{c:.4g}z" for a, b, c, d in boxes)
    return (f'<path class="{kind}" d="{path}"/>' if path else "") + "".join(words)


def _arms(char: str) -> Iterator[Box]:
    """Return the arms of a box-drawing character, each extended past the middle by half its width."""
    strength = _THICK if char == "━" else _THIN
    middle, centre, half = WIDTH / 2, HEIGHT / 2, strength / 2
    for arm in _ARMS[char]:
        if arm in "lr":
            yield (0 if arm == "l" else middle - half), centre - half, middle + half, strength
        else:
            yield middle - half, (0 if arm == "u" else centre - half), strength, centre + half


def _dots(dots: Dots, pattern: int, share: float) -> Iterator[Box]:
    """Return the lit dots of a cell, each filling `share` of its part of the cell in either direction."""
    across, down = WIDTH / dots.wide, HEIGHT / dots.high
    for (row, column), weight in ((place, int(dots.weights[place])) for place in _places(dots)):
        if pattern & weight:
            margin = (1 - share) / 2
            yield across * (column + margin), down * (row + margin), across * share, down * share


def _places(dots: Dots) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(dots.high) for column in range(dots.wide))


def _shapes() -> dict[str, tuple[Box, ...]]:
    """Return the shapes of each character within its cell."""
    shapes = {char: tuple(_arms(char)) for char in _ARMS}
    for dots, share in ((BRAILLE, 0.5), (QUADRANTS, 1.0)):
        shapes |= {
            str(char): tuple(_dots(dots, pattern, share)) for pattern, char in enumerate(dots.characters) if pattern
        }
    return shapes


SHAPES = _shapes()
"""Boxes by character, within a cell of `WIDTH` x `HEIGHT`."""
