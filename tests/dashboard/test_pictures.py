"""Pictures of the dashboard's screens.

After an intended change run pytest tests/dashboard --snapshot-update, and review the pictures.
"""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lop_engine.experiment import lookup
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.screenshot import HEIGHT, WIDTH, portable
from lop_tui.dashboard.settings import Settings
from tests.dashboard.conftest import app_showing, pressing, read, screen_text, settled, unreadable
from tests.helpers import make_run
from tests.toys import REGRESSION, STREAM, make_toy

SIZES = [(80, 24), (120, 40), (200, 60)]
THEMES = ["textual-dark", "textual-light"]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "200x60"])
@pytest.mark.long
def test_overview(snap_compare: Any, eleven_runs: Snapshot, size: tuple[int, int], theme: str) -> None:
    app = app_showing(unreadable(eleven_runs), settings=Settings(theme=theme, markers="braille"))
    assert snap_compare(app, terminal_size=size, run_before=pressing("down", "left", "left"))


VIEWS = {
    "enlarged": ["4", "s", "plus"],
    "seeds": ["down", "e", "down", "left"],
    "comparison": ["c"],
    "help": ["question_mark"],
    "filter": ["slash", *"sed:3"],
}


@pytest.mark.parametrize(("size", "theme"), zip(SIZES, ["textual-light", "textual-dark", "textual-light"], strict=True))
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.long
def test_views(snap_compare: Any, eleven_runs: Snapshot, view: str, size: tuple[int, int], theme: str) -> None:
    app = app_showing(eleven_runs, settings=Settings(theme=theme, markers="braille", smoothing=3))
    assert snap_compare(app, terminal_size=size, run_before=pressing(*VIEWS[view]))


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_another_problem(
    snap_compare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(lookup, "from_run_json", {kind: {} for kind in lookup.from_run_json})
    for seed in range(3):
        make_toy(tmp_path, "fast", seed, num_tasks=120)
        make_toy(
            tmp_path, "slow", seed, num_tasks=120, tasks_done=60, components=REGRESSION | {"method": {"name": "bp"}}
        )
    make_toy(tmp_path, "stream", components=STREAM)
    app = app_showing(read(tmp_path), settings=Settings(markers="braille"))
    assert snap_compare(app, terminal_size=size, run_before=pressing("left", "left"))


@pytest.mark.parametrize("markers", ["blocks", "ascii"])
def test_markers(snap_compare: Any, eleven_runs: Snapshot, markers: Any) -> None:
    app = app_showing(eleven_runs, settings=Settings(markers=markers))
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing())


def test_no_runs(snap_compare: Any) -> None:
    app = app_showing(Snapshot(Path("runs")))
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing())


async def test_a_screenshot_places_every_letter_separately(eleven_runs: Snapshot) -> None:
    """No renderer can then shift a tick label because of its font, the length of a text, or spaces at its ends."""
    app = app_showing(eleven_runs, settings=Settings(markers="braille"))
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        svg, lines = app.export_screenshot(), screen_text(app).split("\n")
    assert "textLength" not in svg
    assert 'url("http' not in svg
    drawn_words = 0
    for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        word, row = text.text or "", round((float(text.get("y", "")) - 20) / HEIGHT)
        if "title" in text.get("class", ""):
            continue
        columns = [round(float(x) / WIDTH) for x in text.get("x", "").split()]
        assert [lines[row][column] for column in columns] == list(word)
        drawn_words += 1
    assert drawn_words > 100


@pytest.mark.parametrize(
    ("char", "boxes"),
    {
        "─": [(0, 11.5, 6.8, 1.4), (5.4, 11.5, 6.8, 1.4)],
        "│": [(5.4, 0, 1.4, 12.9), (5.4, 11.5, 1.4, 12.9)],
        "▀": [(0, 0, 6.1, 12.2), (6.1, 0, 6.1, 12.2)],
        "⠈": [(7.6, 1.5, 3.0, 3.0)],
        "⢀": [(7.6, 19.8, 3.0, 3.0)],
    }.items(),
)
def test_lines_blocks_and_dots_are_drawn_as_shapes_in_their_cell(char: str, boxes: list[tuple[float, ...]]) -> None:
    text = f'<text class="terminal-r1" x="24.4" y="18.5" textLength="24.4" clip-path="url(#a)">&#160;{char}</text>'
    drawn = portable(text)
    assert drawn.startswith('<path class="terminal-r1"')
    assert "<text" not in drawn
    matches = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h", drawn)
    shapes = [(float(x) - 36.6, float(y), float(w), float(h)) for x, y, w, h in matches]
    tall = char in "⠈⢀"
    for shape, box in zip(shapes, boxes, strict=True):
        assert shape == pytest.approx(box, abs=0.2 if not tall else 0.3)


async def test_runs_without_a_metric_are_left_out_of_its_chart_and_counted(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, "bp", seed)
        run_dir = make_run(tmp_path, "cbp", seed)
        run_dir.tasks_json.write_text(run_dir.tasks_json.read_text().replace('"stable_rank"', '"own_rank"'))
    app = app_showing(read(tmp_path))
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert app.view is not None
        lines = {chart.measure.name: [line.label for line in chart.lines] for chart in app.view.charts}
        assert lines["test_accuracy"] == ["bp", "cbp"]
        assert lines["stable_rank"] == ["bp"]
        assert screen_text(app).count("n=2/4 runs") == 1


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "200x60"])
@pytest.mark.long
def test_many_methods(snap_compare: Any, tmp_path: Path, size: tuple[int, int], theme: str) -> None:
    for method in ("bp", "cbp", "dash", "fire", "l2", "parseval", "redo", "snp", "snr", "spectral", "upgd"):
        make_run(tmp_path, method, num_tasks=60)
    app = app_showing(
        read(tmp_path),
        settings=Settings(
            theme=theme,
            markers="braille",
            show_setting=True,
            hidden=("fire",),
            pinned=("snp",),
            order="value",
        ),
    )
    assert snap_compare(app, terminal_size=size, run_before=pressing("down"))


@pytest.mark.parametrize(("size", "theme"), zip(SIZES, [*THEMES, THEMES[0]], strict=True))
def test_choosing_charts(snap_compare: Any, eleven_runs: Snapshot, size: tuple[int, int], theme: str) -> None:
    app = app_showing(eleven_runs, settings=Settings(theme=theme, markers="braille"))
    assert snap_compare(app, terminal_size=size, run_before=pressing("a", "down", "space"))
