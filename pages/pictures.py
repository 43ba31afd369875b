"""Pictures of the dashboard from real runs: the text of a terminal as SVG, still or animated.

``python -m pages.pictures watch RUNS_DIR`` records `lop watch` until the runs of a directory end, and writes
docs/watch.svg. ``python -m pages.pictures views RUNS_DIR`` writes the pictures of docs/dashboard.md.

A picture contains neither scripts nor fonts. Each text is stretched to its columns, and braille, block and box
characters are drawn as shapes, so that it looks the same with any monospaced font. Rows that repeat are stored once.
"""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lop_engine.runs.reading import RunsReader
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.screenshot import HEIGHT, SHAPES, WIDTH
from lop_tui.dashboard.settings import Settings
from pages import DOCS

WATCH_SIZE, VIEW_SIZE = (108, 33), (140, 42)
LOOK_EVERY_S = 2.0
STEPS = 36
"""Frames of the training, at even steps of tasks done."""
FRAME_S, KEY_S = 0.35, 2.5
"""How long a frame of the training stays, and one that follows a key."""
KEYS = ["shift+left", "c"]
"""Pressed when the training has ended."""
VIEWS = {"dashboard": ["left", "shift+left"], "dashboard-seeds": ["e", "left"], "dashboard-compare": ["c"]}
"""Pictures of docs/dashboard.md by the keys that lead to them."""
CELL_W, CELL_H = 8, 16
"""Size of a character in pixels."""

Span = Sequence[Any]
"""Text, foreground, background, and whether it is bold."""
Frame = Sequence[Sequence[Span]]


def rows_of(app: Dashboard) -> Frame:
    """Return the text on the screen with its colours, as `draw` takes it."""
    rows = []
    for strip in app.screen._compositor.render_strips():
        row: list[list[Any]] = []
        for text, style, _ in strip:
            colours = [_hex(style and style.color, "#e0e0e0"), _hex(style and style.bgcolor, "#121212")]
            look = [*(reversed(colours) if style and style.reverse else colours), bool(style and style.bold)]
            if row and row[-1][1:] == look:
                row[-1][0] += text
            else:
                row.append([text, *look])
        rows.append(row)
    return rows


def _hex(colour: Any, otherwise: str) -> str:
    return colour.get_truecolor().hex if colour and not colour.is_default else otherwise


def _dashboard(runs_dir: Path) -> Dashboard:
    return Dashboard(RunsReader(runs_dir).read, settings=Settings(markers="braille"))


async def record(runs_dir: Path) -> tuple[list[tuple[int, Frame]], list[Frame]]:
    """Return frames of the training, each with the number of finished tasks of all runs, and a frame after each key."""
    app = _dashboard(runs_dir)
    training: list[tuple[int, Frame]] = []
    async with app.run_test(size=WATCH_SIZE) as pilot:
        while not training or not app.view or not app.view.groups or not app.view.all_ended:
            await pilot.pause(LOOK_EVERY_S)
            done = sum(run.tasks_done for group in app.view.groups for run in group.runs) if app.view else 0
            training.append((done, rows_of(app)))
        after = []
        for key in ["", *KEYS]:
            if key:
                await pilot.press(key)
            await pilot.pause(2 * LOOK_EVERY_S)
            after.append(rows_of(app))
    return training, after


def animate(training: list[tuple[int, Frame]], after: list[Frame]) -> str:
    """Return the animation: `STEPS` frames of the training, then the frames after keys."""
    last = training[-1][0]
    steps = [
        next(at for at, one in enumerate(training) if one[0] >= last * step / STEPS) for step in range(1, STEPS + 1)
    ]
    frames = [training[at][1] for at in dict.fromkeys(steps)]
    seconds = [FRAME_S] * len(frames) + [KEY_S] * len(after)
    return draw([*frames, *after], seconds, still=len(frames), title="lop watch: two methods in training")


async def take_views(runs_dir: Path) -> None:
    """Write the pictures of docs/dashboard.md."""
    for name, keys in VIEWS.items():
        app = _dashboard(runs_dir)
        async with app.run_test(size=VIEW_SIZE) as pilot:
            while app.view is None:
                await pilot.pause(0.1)
            for key in keys:
                await pilot.press(key)
                await pilot.pause(1)
            await pilot.pause(2)
            (DOCS / f"{name}.svg").write_text(app.export_screenshot(title="lop watch"))


def draw(frames: Sequence[Frame], seconds: Sequence[float] = (1.0,), still: int = 0, title: str = "lop watch") -> str:
    """Return the SVG of one frame, or of several in turn.

    Args:
        seconds: how long each frame stays.
        still: the frame shown if animations are disabled.
    """
    columns, lines = max(sum(len(span[0]) for span in row) for row in frames[0]), len(frames[0])
    rows: dict[str, int] = {}
    classes: dict[str, str] = {}
    spans = [span for row in frames[0] for span in row]
    background = max(spans, key=lambda span: sum(len(one[0]) for one in spans if one[2] == span[2]))[2]
    pictures = []
    for frame in frames:
        numbers = [rows.setdefault(_row(row, classes, background), len(rows)) for row in frame]
        pictures.append("".join(f'<use href="#r{one}" y="{y * CELL_H}"/>' for y, one in enumerate(numbers)))
    shapes = "".join(f'<g id="r{number}">{shape}</g>' for shape, number in rows.items())
    timed = "".join(f'<g class="f f{number}">{picture}</g>' for number, picture in enumerate(pictures))
    width, height = columns * CELL_W + 16, lines * CELL_H + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<title>{escape(title)}</title><style>{_style(classes, seconds, still)}</style><defs>{shapes}</defs>"
        f'<rect width="100%" height="100%" rx="8" fill="{background}"/>'
        f'<g transform="translate(8 8)">{timed}</g></svg>\n'
    )


def _style(classes: dict[str, str], seconds: Sequence[float], still: int) -> str:
    """Return the style: colours, and when each frame is shown."""
    fonts = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
    rules = [f"text{{font:12.5px {fonts}}}.b{{font-weight:bold}}"]
    rules += [f".{name}{{fill:{colour}}}" for colour, name in classes.items()]
    if len(seconds) == 1:
        return "".join(rules)
    rules.append(
        f".f{{visibility:hidden}}.f{still}{{visibility:visible}}@media(prefers-reduced-motion:no-preference){{"
    )
    total, start = sum(seconds), 0.0
    for index, duration in enumerate(seconds):
        begin, end = 100 * start / total, 100 * (start + duration) / total
        before = f"0%{{visibility:hidden}}{begin:.2f}%" if index else "0%"
        after = f"{end:.2f}%,to{{visibility:hidden}}" if index + 1 < len(seconds) else "to{visibility:visible}"
        rules.append(f"@keyframes k{index}{{{before}{{visibility:visible}}{after}}}")
        rules.append(f".f{index}{{animation:k{index} {total:.2f}s step-end infinite}}")
        start += duration
    return "".join([*rules, "}"])


def _row(row: Iterable[Span], classes: dict[str, str], usual: str) -> str:
    """Return the shapes of a row: unusual backgrounds, drawn characters, and text."""
    parts, column = [], 0
    for text, colour, background, bold in row:
        name = classes.setdefault(colour, f"c{len(classes)}")
        if background != usual:
            back = classes.setdefault(background, f"c{len(classes)}")
            parts.append(
                f'<path class="{back}" d="M{column * CELL_W} 0h{len(text) * CELL_W}v{CELL_H}h-{len(text) * CELL_W}z"/>'
            )
        path = "".join(_shape(character, (column + at) * CELL_W) for at, character in enumerate(text))
        if path:
            parts.append(f'<path class="{name}" d="{path}"/>')
        parts += _texts(text, column, f"{name} b" if bold else name)
        column += len(text)
    return "".join(parts)


def _texts(text: str, column: int, name: str) -> Iterable[str]:
    """Return the words of a text that are not drawn as shapes, each stretched to its columns."""
    plain = "".join(" " if character in SHAPES else character for character in text)
    at = 0
    for piece in plain.split("  "):
        words = piece.strip()
        if words:
            x = (column + at + len(piece) - len(piece.lstrip())) * CELL_W
            y, width = CELL_H * 0.76, len(words) * CELL_W
            stretched = f'textLength="{width}" lengthAdjust="spacingAndGlyphs"'
            yield f'<text class="{name}" x="{x}" y="{y:g}" {stretched}>{escape(words)}</text>'
        at += len(piece) + 2


def _shape(character: str, x: float) -> str:
    """Return the path of a drawn character at `x` from the left; empty for letters."""
    wide, high = CELL_W / WIDTH, CELL_H / HEIGHT
    boxes = [(x + a * wide, b * high, c * wide, d * high) for a, b, c, d in SHAPES.get(character, ())]
    return "".join(f"M{a:.4g} {b:.3g}h{c:.2g}v{d:.2g}h-{c:.2g}z" for a, b, c, d in boxes)


if __name__ == "__main__":
    what, runs_dir = sys.argv[1], Path(sys.argv[2])
    if what == "watch":
        (DOCS / "watch.svg").write_text(animate(*asyncio.run(record(runs_dir))))
    else:
        asyncio.run(take_views(runs_dir))
