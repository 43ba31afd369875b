"""Heat maps as text."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.experiment import lookup
from lop_tui.dashboard.drawing.canvas import Ink
from lop_tui.dashboard.drawing.chart import Heat
from lop_tui.dashboard.drawing.heatmap import draw_heat, heat_area

ASCII = Ink(markers="ascii")


def make_heat(values: Any, bin_size: int = 10, num_tasks: int | None = None, metric: str = "effective_rank") -> Heat:
    values = np.asarray(values, dtype=float)
    task = np.arange(values.shape[1]) * bin_size + (bin_size + 1) / 2
    num_tasks = values.shape[1] * bin_size if num_tasks is None else num_tasks
    return Heat(lookup.metric(metric), "bp", tuple(range(len(values))), task, values, bin_size, num_tasks)


def rows_of(heat: Heat, width: int, height: int, ink: Ink, **options: Any) -> list[str]:
    return draw_heat(heat, width, height, ink, **options).plain.split("\n")


numbers = st.one_of(st.floats(), st.sampled_from([0.0, 0.5, np.nan, np.nan, 1e300, -1e300]))


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 12).flatmap(
        lambda seeds: st.integers(0, 9).flatmap(
            lambda bins: st.lists(numbers, min_size=seeds * bins, max_size=seeds * bins).map(
                lambda flat: np.array(flat).reshape(seeds, bins)
            )
        )
    ),
    st.sampled_from(["effective_rank", "test_accuracy", "curvature"]),
    st.integers(0, 60),
    st.integers(0, 14),
    st.builds(Ink, coloured=st.booleans(), markers=st.sampled_from(["braille", "ascii"])),
    st.integers(-1, 12),
    st.one_of(st.none(), st.floats(-5, 200)),
)
def test_any_heat_map_has_the_requested_size(
    values: np.ndarray, metric: str, width: int, height: int, ink: Ink, selected: int, cursor: float | None
) -> None:
    heat = make_heat(values, num_tasks=100, metric=metric)
    text = draw_heat(heat, width, height, ink, selected=selected, cursor=cursor)
    assert [len(row) for row in text.plain.split("\n")] == ([width] * height or [0])
    assert text.plain.isascii() or not ink.ascii
    assert ink.coloured or not text.spans


def test_rows_map_to_seeds_and_back() -> None:
    for num_seeds, height in ((3, 20), (10, 14), (20, 14), (60, 14)):
        heat = make_heat(np.zeros((num_seeds, 5)))
        where = heat_area(heat, 60, height, Ink(), selected=num_seeds - 1)
        assert where.seeds[-1] == num_seeds - 1
        for row in range(where.area.top, where.area.top + where.area.rows):
            seed = where.seed_at(row)
            assert seed is not None
            assert where.row_of(seed) in range(row - 2, row + 1)
        assert where.seed_at(0) is None
        assert where.seed_at(height) is None


def test_many_seeds_have_half_rows_and_too_many_are_cut_around_the_selected_one() -> None:
    heat = make_heat(np.random.default_rng(0).random((60, 5)))
    where = heat_area(heat, 60, 13, Ink(), selected=40)
    assert (where.halves, len(where.seeds)) == (1, 20)
    assert 40 in where.seeds
    assert "▀" in draw_heat(heat, 60, 13, Ink(), selected=40).plain
    assert len(heat_area(heat, 60, 13, ASCII).seeds) == 10


def test_the_ramp_darkens_with_the_value_and_is_blank_for_missing_ones() -> None:
    rows = rows_of(make_heat([[0, 1, np.nan], [1, 0, 0.5]]), 40, 5, ASCII)
    left = heat_area(make_heat(np.zeros((2, 3))), 40, 5, ASCII).area.left
    first, second = (row[left:] for row in rows[1:3])
    assert (first[0], first[-1], second[0], second[-1]) == (".", " ", "@", "+")


def test_bins_of_a_column_are_averaged() -> None:
    rows = rows_of(make_heat([[0, 2] * 200, [0, 0] * 200, [2, 2] * 200]), 40, 6, ASCII)
    left = heat_area(make_heat(np.zeros((3, 1))), 40, 6, ASCII).area.left
    assert [set(row[left + 1 : -1]) <= set(chars) for row, chars in zip(rows[1:4], ("-=+", ".", "@"), strict=True)]


def test_untrained_tasks_are_blank() -> None:
    row = rows_of(make_heat(np.ones((1, 5)), num_tasks=100), 48, 4, ASCII)[1]
    assert row.rstrip().count("+") in range(18, 24)
    assert row.endswith(" " * 15)


def test_the_selected_seed_and_the_cursor_are_marked() -> None:
    heat = make_heat(np.random.default_rng(0).random((5, 5)))
    rows = rows_of(heat, 50, 8, Ink(), selected=3, cursor=25)
    assert [row[0] for row in rows[1:6]] == [" ", " ", " ", "▶", " "]
    assert rows[4].startswith("▶seed 3")
    area = heat_area(heat, 50, 8, Ink(), 3).area
    assert rows[6].index("▲") == area.column_of(25, (0, 50))


def test_the_legend_shows_the_least_and_the_greatest_value() -> None:
    legend = rows_of(make_heat([[0.5, 0.25]], metric="test_accuracy"), 80, 8, Ink())[0]
    assert "test accuracy, %  25.0 " in legend
    assert legend.rstrip().endswith(" 50.0")
    assert "0.00100" in rows_of(make_heat([[0.0, 0.001, 2]], metric="curvature"), 80, 8, Ink())[0]
    assert rows_of(make_heat([[np.nan]]), 80, 8, Ink())[0].strip() == ""
