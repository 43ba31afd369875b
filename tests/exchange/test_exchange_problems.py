"""Exports of runs of several problems: each run has only its own metrics."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from lop_engine.errors import UserError
from lop_engine.exchange import export_runs
from lop_engine.runs.query import filter_runs
from lop_engine.runs.reading import RunsReader
from tests.experiment.test_own_files import own_registries
from tests.helpers import make_run
from tests.toys import REGRESSION, STREAM, described, make_toy

__all__ = ["own_registries"]

#: A problem counted in frames, with names that have a meaning in filters and tables.
GAMES = REGRESSION | {
    "problem": {"name": "my games,*", "title": "Games", "headline": "score", "x_unit": "frames"},
    "metrics": [described("score", "score")],
    "x_per_task": 7,
}
CLASH = GAMES | {"problem": GAMES["problem"] | {"name": "clash", "x_unit": "seed"}}


@pytest.fixture
def runs():
    place = Path("runs")
    make_toy(place, "fit", 0)
    make_toy(place, "stream", 0, components=STREAM)
    make_toy(place, "games", 3, components=GAMES, num_tasks=5)
    make_toy(place, "clash", 4, components=CLASH, num_tasks=5, metrics=["score", "drift"])
    make_run(place, "bp", 0)
    return RunsReader(place).read().runs


def rows(path: str) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_table_has_the_metrics_of_every_problem(runs):
    export_runs(runs, "csv", Path("all.csv"), epochs=True)
    export_runs(runs, "parquet", Path("all.parquet"))
    table = rows("all.csv")
    columns = parquet.read_table("all.parquet").to_pydict()
    assert list(table[0]) == list(columns)
    for run in runs:
        own = [index for index, row in enumerate(table) if row["experiment"] == run.experiment]
        assert {table[index]["problem"] for index in own} == {run.problem_name}
        assert {table[index]["seed"] for index in own} == {str(run.seed)}
        for metric, values in run.series.items():
            assert [float(table[index][metric]) for index in own] == values.tolist()
            assert [columns[metric][index] for index in own] == values.tolist()
        for metric in {"score", "toy_error", "online_accuracy", "test_accuracy"} - run.series.keys():
            assert {table[index][metric] for index in own} == {"NaN"}
    of_games = [row for row in table if row["experiment"] == "games"]
    assert [float(row["frames"]) for row in of_games] == [7, 14, 21, 28, 35]
    assert {row["examples"] for row in of_games} == {"NaN"}
    of_epochs = {row["problem"] for row in rows("all_epochs.csv")}
    assert of_epochs == {run.problem_name for run in runs} - {
        "continual_imagenet"
    }  # this problem has no records of epochs


def test_arrays_and_event_files_have_only_the_metrics_of_their_setting(runs):
    export_runs(runs, "npz", Path("all.npz"))
    with np.load("all.npz") as arrays:
        for run in runs:
            name = f"{run.experiment}/default"
            assert {one.removeprefix(f"{name}/") for one in arrays if one.startswith(f"{name}/")} == {
                "seeds",
                *run.series,
            }
            for metric, values in run.series.items():
                assert arrays[f"{name}/{metric}"].tolist() == [values.tolist()]
    export_runs(runs, "tensorboard", Path("events"))
    assert {path.parent.relative_to("events").as_posix() for path in Path("events").rglob("events.out*")} == {
        run.dir.name for run in runs
    }


def test_the_reference_s_format_is_refused_with_a_filter_that_works(runs):
    with pytest.raises(UserError) as refused:
        export_runs(runs, "pickle", Path("pickles"))
    where = str(refused.value).partition('--where "')[2].partition('"')[0]
    chosen = filter_runs(runs, where)
    assert {run.problem_name for run in chosen} == {"continual_imagenet"}
    export_runs(chosen, "pickle", Path("pickles"))
    with pytest.raises(UserError, match=r"choose csv, npz or parquet$"):
        export_runs([run for run in runs if run not in chosen], "pickle", Path("other"))
