"""Random keys, and any description of a problem in run.json, give a frame."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from lop_engine.experiment import lookup
from lop_engine.runs.directory import write_json
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard import read_numbers, render_once
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.table import fit_table
from tests.dashboard.conftest import app_showing, first_frame, read, settled
from tests.dashboard.test_problems import request_for
from tests.experiment.test_lookup import anything, malformed
from tests.helpers import make_run
from tests.toys import make_toy


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.long
async def test_random_keys_give_a_frame_on_any_problem(three_problems: Snapshot, tmp_path: Path, seed: int) -> None:
    make_toy(tmp_path, "another", components={"problem": [], "method": {"name": "?"}}, metrics=["a", "b"])
    make_toy(tmp_path, "nameless", components={}, metrics=[], problem="nameless")
    rng = random.Random(seed)
    keys = [*"vvvvecsxbgwrtoOnNaA[]0123+-", "left", "right", "up", "down", "enter", "escape", "escape", "tab"]
    async with app_showing(read(tmp_path)).run_test(size=rng.choice([(80, 24), (160, 48)])) as pilot:
        app = await first_frame(pilot)
        for key in rng.choices(keys, k=60):
            await pilot.press(key)
            if rng.random() < 0.3:
                await settled(pilot)
            assert app.error is None, key


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(components=malformed() | anything)
def test_any_components_in_run_json_give_a_frame(tmp_path_factory: pytest.TempPathFactory, components: Any) -> None:
    path = tmp_path_factory.mktemp("runs")
    for known in lookup.from_run_json.values():
        known.clear()
    run = make_toy(path, metrics=["toy_error", "drift"])
    make_run(path, "bp")
    write_json(run.run_json, {"spec": {"agent": "x", "num_tasks": 40}, "seed": 0, "components": components})
    snapshot = RunsReader(path).read()
    for name in {run.problem_name for run in snapshot.runs}:
        request = replace(request_for(name), heat_of="toy", compare=("toy", "bp"))
        view = build_view(snapshot, request)
        assert view.shown.problem.name == name
        fit_table(view.rows, 80)
    assert render_once(path, 80, 24, coloured=False)
    assert read_numbers(path)["settings"]
