"""The lines that `lop run` prints while it trains where there is no terminal."""

import io

import pytest

from lop_engine.runs.reading import RunsReader
from lop_tui.commands.progress import LineDisplay
from lop_tui.words.console import Console
from tests.helpers import make_run


@pytest.mark.parametrize(("seeds", "expected"), [(2, "300/300 tasks of 2 seeds"), (1, "150/150 tasks  ")])
def test_tasks_of_several_seeds_are_counted_together_and_said_to_be(tmp_path, seeds, expected):
    for seed in range(seeds):
        make_run(tmp_path, "bp", seed=seed, num_tasks=150)
    printed = io.StringIO()
    LineDisplay(Console(file=printed, width=200)).update(RunsReader(tmp_path).read(), stopping=False)
    assert expected in printed.getvalue()
