"""Charts as text: their size, what is visible, and which layers hide others."""

from dataclasses import replace
from typing import Any

import numpy as np
import plotext
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from lop_engine.analysis import Curve
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric, Scale
from lop_tui.dashboard.drawing.axes import LABEL_WIDTH, Axis, value_axis
from lop_tui.dashboard.drawing.canvas import Canvas, Ink, PlotArea, pack, rgb
from lop_tui.dashboard.drawing.chart import Chart, Line
from lop_tui.dashboard.drawing.plots import draw, plot_area
from lop_tui.dashboard.drawing.raster import BRAILLE, QUADRANTS, characters, cut, dot_of, light, thin

ASCII = Ink(markers="ascii")
LINEAR = Metric(name="x", title="x", takes=())


def make_line(x: Any, mean: Any, error: float = 0.0, **options: Any) -> Line:
    x, mean = np.asarray(x, dtype=float), np.asarray(mean, dtype=float)
    curve = Curve(x, mean, np.full(len(x), error), np.full(len(x), 2), 1)
    return Line("bp", "#D55E00", "o", curve, x, 2, **options)


def make_chart(*lines: Line, measure: Metric = LINEAR, high: float = 10, **options: Any) -> Chart:
    return Chart(measure, lines, Axis(0, high), 1, **options)


def rows_of(text: Text) -> list[str]:
    return text.plain.split("\n")


def data_of(text: Text, width: int, height: int) -> list[str]:
    """Return the rows of the data area."""
    area = plot_area(width, height)
    return [row[area.left :] for row in rows_of(text)[: area.rows]]


def backgrounds(text: Text) -> set[int]:
    """Return the backgrounds of cells, by their position in the text."""
    return {at for span in text.spans if getattr(span.style, "bgcolor", None) for at in range(span.start, span.end)}


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 0.5, 0.84, -1.0, 1e-12, 1e40, -1e300])
)
windows = st.one_of(st.none(), st.tuples(st.floats(-20, 50), st.floats(-20, 50)))


@st.composite
def charts(draw: st.DrawFn) -> Chart:
    lines = []
    for _ in range(draw(st.integers(0, 3))):
        x = np.sort(draw(st.lists(st.floats(0, 30), max_size=5)))
        means = draw(st.lists(numbers, min_size=len(x), max_size=len(x)))
        seeds = ((x, np.array(means)), (x, np.array(means[::-1]))) if draw(st.booleans()) else ()
        smooth = np.array(means) if draw(st.booleans()) else None
        marks = ((draw(st.floats(-5, 35)), draw(numbers)),) if draw(st.booleans()) else ()
        lines.append(
            make_line(x, means, draw(st.sampled_from([0.0, 0.1, np.nan])), smooth=smooth, seeds=seeds, marks=marks)
        )
    scale: Scale = draw(st.sampled_from(["linear", "percent", "log"]))
    from_zero, least_span = draw(st.booleans()), draw(st.sampled_from([0.0, 1.0]))
    measure = replace(LINEAR, scale=scale, from_zero=from_zero, least_span=least_span)
    unit = draw(st.sampled_from(["tasks", "steps", "hours"]))
    return make_chart(*lines, measure=measure, high=30, zero_line=draw(st.booleans()), x_unit=unit)


@settings(deadline=None, max_examples=150)
@given(
    charts(),
    st.integers(0, 60),
    st.integers(0, 16),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["braille", "blocks", "ascii"]),
    windows,
    st.one_of(st.none(), st.floats(-5, 40)),
)
def test_any_chart_has_the_requested_size(
    chart: Chart,
    width: int,
    height: int,
    show_seeds: bool,
    coloured: bool,
    markers: Any,
    window: tuple[float, float] | None,
    cursor: float | None,
) -> None:
    ink = Ink(coloured=coloured, markers=markers)
    text = draw(chart, width, height, ink, show_seeds=show_seeds, window=window, cursor=cursor)
    assert [len(row) for row in rows_of(text)] == ([width] * height or [0])
    assert text.plain.isascii() or markers != "ascii"
    assert coloured or not text.spans


def test_charts_of_equal_size_have_equal_data_areas() -> None:
    area = plot_area(50, 12)
    for measure in map(lookup.metric, lookup.metric_names()):
        for values in ([], [1e-5, 3e-5], [0.2, 0.9], [1e4, 3e6]):
            chart = make_chart(make_line(range(len(values)), values), measure=measure)
            rows = rows_of(draw(chart, 50, 12, Ink()))
            assert rows[area.rows][area.left - 1] == "└"
            assert {row[LABEL_WIDTH] for row in rows[: area.rows]} <= {"│", "┤"}


@pytest.mark.parametrize("window", [(0.0, 5000.0), (83.7, 121.4), (-0.01, 0.013)])
def test_columns_map_to_x_and_back(window: tuple[float, float]) -> None:
    area = plot_area(53, 20)
    columns = range(area.left, area.left + area.columns)
    assert [area.column_of(area.x_at(column, window), window) for column in columns] == list(columns)
    assert (area.x_at(0, window), area.x_at(99, window)) == window
    assert area.column_of(window[1] + 1, window) is None


def test_a_line_is_drawn_in_the_columns_of_its_x_values() -> None:
    chart = make_chart(make_line([0, 10], [0, 1]))
    data = data_of(draw(chart, 50, 12, Ink(coloured=False)), 50, 12)
    assert (data[-1][0], data[0][-1]) == ("o", "o")


def test_a_window_cuts_lines_at_its_edges_and_fits_the_y_axis() -> None:
    line = make_line([0, 10], [0, 100])
    data = data_of(draw(make_chart(line), 50, 12, Ink(coloured=False), window=(4, 6)), 50, 12)
    assert all("o" in column for column in zip(*data, strict=True))
    top, bottom = (rows_of(draw(make_chart(line), 50, 12, Ink(), window=(4, 6)))[row][:LABEL_WIDTH] for row in (0, 9))
    assert (top.strip(), bottom.strip()) == ("60", "0")


def test_points_on_the_edge_of_a_window_are_shown() -> None:
    pieces = cut(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]), (4.0, 9.0))
    assert pieces[:, -1].tolist() == [4, 2, 6, 3]
    assert cut(np.array([4.0]), np.array([2.0]), (4.0, 9.0)).T.tolist() == [[4, 2, 4, 2]]
    assert cut(np.array([3.0]), np.array([2.0]), (4.0, 9.0)).size == 0


def test_lines_are_joined_across_missing_values_but_not_to_each_other() -> None:
    x, values = np.array([0.0, 1, 2, 0, 2]), np.array([5.0, np.nan, 6, 7, 8])
    assert cut(x, values, (0, 9), np.array([0, 0, 0, 1, 1])).T.tolist() == [[0, 5, 2, 6], [0, 7, 2, 8]]


def test_zero_is_drawn_at_the_bottom_of_a_log_scale() -> None:
    measure = replace(LINEAR, scale="log")
    data = data_of(draw(make_chart(make_line([0, 5, 10], [1, 0, 1]), measure=measure), 50, 12, ASCII), 50, 12)
    assert "o" in data[-1]


@pytest.mark.parametrize(("markers", "dots"), [("braille", BRAILLE), ("blocks", QUADRANTS)])
def test_seeds_are_dots_in_cells_without_a_mean(markers: Any, dots: Any) -> None:
    line = make_line([0, 10], [0.5, 0.5], 0.2, seeds=(([0, 10], [0, 1]), ([0, 10], [1, 0])))
    line = replace(line, seeds=tuple((np.array(x, dtype=float), np.array(y, dtype=float)) for x, y in line.seeds))
    without = draw(make_chart(line), 50, 12, Ink(markers=markers), show_seeds=False)
    shown = draw(make_chart(line), 50, 12, Ink(markers=markers), show_seeds=True)
    data = data_of(shown, 50, 12)
    assert set("".join(data)) <= set(dots.characters)
    assert {row[0] != " " for row in (data[0], data[-1])} == {True}
    assert backgrounds(without)
    assert not backgrounds(shown)
    colours = {span.style.color.triplet for span in shown.spans if span.style.color}  # type: ignore[union-attr]
    assert rgb(line.colour) in {tuple(colour) for colour in colours}
    assert len(colours) == 2


def test_a_cell_has_a_dot_for_each_corner() -> None:
    corners = np.zeros((4, 4, 2), dtype=bool)
    corners[[0, 1, 2, 3], [0, 0, 3, 3], [0, 1, 0, 1]] = True
    assert "".join(characters(corners, BRAILLE)) == "⠁⠈⡀⢀"
    corners = np.eye(4, dtype=bool).reshape(4, 2, 2)
    assert "".join(characters(corners, QUADRANTS)) == "▘▝▖▗"


def test_the_raw_mean_is_drawn_behind_the_smoothed_one() -> None:
    line = make_line([0, 5, 10], [0, 1, 0], smooth=np.array([0.3, 0.4, 0.3]))
    data = "".join(data_of(draw(make_chart(line), 50, 12, ASCII), 50, 12))
    assert "o" in data
    assert "." in data


def test_published_levels_hide_no_mean() -> None:
    line = make_line([0, 10], [0.2, 0.2], marks=((5.0, 0.8), (2.0, 0.2), (50.0, 0.5)))
    assert draw(make_chart(line), 50, 12, Ink()).plain.count("◇") == 1


def test_a_zero_line_is_always_within_the_chart() -> None:
    chart = make_chart(make_line([0, 10], [-1, 1]), measure=replace(LINEAR, from_zero=False), zero_line=True)
    rows = data_of(draw(chart, 50, 13, ASCII), 50, 13)
    assert ["---" in row for row in rows].count(True) == 1
    above = replace(chart, lines=(make_line([0, 10], [5, 6]),))
    assert ["---" in row for row in data_of(draw(above, 50, 13, ASCII), 50, 13)].count(True) == 1


def test_a_cursor_hides_nothing() -> None:
    chart = make_chart(make_line([0, 10], [0.5, 0.5], 0.1))
    plain, marked = draw(chart, 50, 12, Ink()), draw(chart, 50, 12, Ink(), cursor=5)
    column = plot_area(50, 12).column_of(5, (0, 10))
    assert column is not None
    for row, other in zip(rows_of(plain)[:10], rows_of(marked)[:10], strict=True):
        assert other[column] == ("│" if row[column] in " ▄" else row[column])
        assert other[:column] + other[column + 1 :] == row[:column] + row[column + 1 :]
    tinted = {at % 51 for at in backgrounds(marked) - backgrounds(plain)}
    assert tinted <= {column}
    assert draw(chart, 50, 12, Ink(), cursor=11).plain == plain.plain


def test_a_canvas_has_few_spans() -> None:
    canvas = Canvas.from_ansi("ab\x1b[38;2;1;2;3mcd\x1b[0m \x1b[38;2;1;2;3me\x1b[0m\nf", 8, 3)
    assert canvas.to_text(Ink()).plain == "abcd e  \nf       \n        "
    assert [(span.start, span.end) for span in canvas.to_text(Ink()).spans] == [(2, 9)]
    canvas.part(PlotArea(1, 1, 2, 1)).background[:] = pack((9, 9, 9))
    assert [(span.start, span.end) for span in canvas.to_text(Ink()).spans] == [(2, 9), (10, 12)]


def test_thinning_points_does_not_change_the_picture() -> None:
    rng = np.random.default_rng(3)
    x, values = np.sort(rng.uniform(0, 100, 3000)), rng.normal(0, 1, 3000).cumsum()
    values[rng.integers(0, 3000, 50)] = np.nan
    few_x, few_values = thin(x, values, (20.0, 80.0), 40)
    assert len(few_x) <= 4 * 42
    pictures = []
    for points in ((x, values), (few_x, few_values)):
        pieces = cut(*points, (20.0, 80.0))
        columns = [dot_of((pieces[i] - 20) / 60, 40) for i in (0, 2)]
        rows = [dot_of((pieces[i] + 200) / 400, 60) for i in (1, 3)]
        ends = np.stack([rows[0], columns[0], rows[1], columns[1]])
        pictures.append(light(ends, np.zeros(pieces.shape[1], dtype=int), (1, 60, 40)))
    assert (pictures[0] == pictures[1]).all()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 40)), min_size=1, max_size=12),
    st.sampled_from(["braille", "blocks"]),
)
def test_strong_lines_have_the_dots_that_plotext_would_light(points: Any, markers: Any) -> None:
    x, values = np.array(sorted(points), dtype=float).T
    chart = make_chart(make_line(x, values), high=90)
    drawn = data_of(draw(chart, 57, 12, Ink(markers=markers)), 57, 12)
    area, y = plot_area(57, 12), value_axis([values], LINEAR.scale, LINEAR.from_zero, LINEAR.least_span)
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.plotsize(area.columns, area.rows)
    plotext.theme("clear")
    plotext.frame(False)
    plotext.xfrequency(0)
    plotext.yfrequency(0)
    plotext.xlim(0, 90)
    plotext.ylim(y.low, y.high)
    plotext.plot(x.tolist(), values.tolist(), marker="braille" if markers == "braille" else "hd")
    expected = plotext.uncolorize(plotext.build()).split("\n")[: area.rows]
    assert [row.rstrip() for row in drawn] == [row.rstrip() for row in expected]


def test_axes_that_stay_the_same_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    build = plotext.build
    monkeypatch.setattr(plotext, "build", lambda: built.append(1) or build())
    size = 61, 13  # no other test draws axes of this size
    for length in range(4, 9):
        draw(make_chart(make_line(range(length), [0.0, *[0.5] * (length - 2), 1.0])), *size, Ink())
    assert len(built) == 1
    draw(make_chart(make_line(range(4), [0.0, 0.5, 0.5, 3.0])), *size, Ink())
    assert len(built) == 2


def test_a_logarithmic_axis_in_percent_takes_a_band_above_100_beside_small_values() -> None:
    axis = value_axis([np.array([0.03, 0.99]), np.array([1.2])], "log percent", False, 0.0)
    assert 10**axis.low == pytest.approx(2)
    assert 10**axis.high == pytest.approx(100)
