"""How it looks, kept as pictures. After a wanted change: pytest tests/dashboard --snapshot-update, and look at them."""

from pathlib import Path
from typing import Any

import pytest

from lop_engine.runs import Snapshot
from tests.dashboard.conftest import app_showing, pressing, unreadable

SIZES = [(80, 24), (160, 48)]


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x48"])
def test_overview(snap_compare: Any, eleven_runs: Snapshot, size: tuple[int, int]) -> None:
    assert snap_compare(app_showing(eleven_runs), terminal_size=size, run_before=pressing())


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x48"])
def test_enlarged_chart_with_seeds(snap_compare: Any, eleven_runs: Snapshot, size: tuple[int, int]) -> None:
    assert snap_compare(app_showing(unreadable(eleven_runs)), terminal_size=size, run_before=pressing("4", "s"))


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x48"])
def test_help(snap_compare: Any, eleven_runs: Snapshot, size: tuple[int, int]) -> None:
    assert snap_compare(app_showing(eleven_runs), terminal_size=size, run_before=pressing("question_mark"))


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x48"])
def test_no_runs(snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(app_showing(Snapshot(Path("runs"))), terminal_size=size, run_before=pressing())
