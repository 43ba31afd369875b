"""Whichever way one looks at runs, the numbers are the same to the last digit: all come from one aggregation."""

import csv
import json

import numpy as np
import pytest

from lop_engine.analysis import average, group_runs
from lop_engine.analysis import compare as paired
from lop_engine.experiment import seen
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs import RunsReader
from lop_tui import figures
from tests.cli.test_views import lop
from tests.helpers import make_run


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("agreement") / "runs"
    for method in ("bp", "cbp"):
        for seed in range(4):
            make_run(runs_dir, method, seed, num_tasks=130, tasks_done=130 - 30 * (seed == 3))
    return runs_dir


@pytest.fixture(scope="module")
def groups(runs_dir):
    return group_runs(RunsReader(runs_dir).read().runs)


@pytest.mark.parametrize("metric", CONTINUAL_IMAGENET.metrics)
def test_watch_shows_the_points_that_plot_draws(runs_dir, groups, metric):
    watched = json.loads(lop("watch", "--json", "--runs-dir", runs_dir))["settings"]
    panel, factor = figures.draw(groups, [metric]).axes[0], seen.metric(metric).factor
    drawn = {tuple(line.get_ydata()) for line in panel.lines}
    for group, shown in zip(groups, watched, strict=True):
        curve, values = group.curve(metric), shown["metrics"][metric]
        assert values["mean"] == curve.mean.tolist()
        assert values["standard_error"] == curve.standard_error.tolist()
        whole = curve.num_seeds == curve.num_seeds.max()  # another line where seeds drop out
        assert tuple(curve.mean[whole] * factor) in drawn | {line[: whole.sum()] for line in drawn}


def test_status_shows_the_values_that_export_writes(runs_dir, tmp_path):
    last = {run["run"]: run["last"] for run in json.loads(lop("status", "--json", "--runs-dir", runs_dir))["runs"]}
    lop("export", "--format", "csv", "-o", tmp_path / "all.csv", "--runs-dir", runs_dir)
    with open(tmp_path / "all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    exported = {f"{row['experiment']}/{row['setting']}/seed_{int(row['seed']):03d}": row for row in rows}
    assert exported.keys() == last.keys()
    for name, row in exported.items():
        assert {metric: float(row[metric]) for metric in CONTINUAL_IMAGENET.metrics} == last[name]


def test_what_is_exported_averages_to_what_is_watched(runs_dir, groups, tmp_path):
    lop("export", "--format", "npz", "-o", tmp_path / "all.npz", "--runs-dir", runs_dir)
    with np.load(tmp_path / "all.npz") as file:
        arrays = dict(file)
    for group in groups:
        [name] = [key for key in arrays if key.startswith(f"{group.experiment}/") and key.endswith("test_accuracy")]
        curve = group.curve("test_accuracy")
        again = average([row[np.isfinite(row)] for row in arrays[name]], curve.bin_size, group.num_tasks)
        assert again.mean.tolist() == curve.mean.tolist()


def test_compare_shows_the_difference_that_watch_draws(runs_dir, groups):
    said = json.loads(lop("compare", "bp", "cbp", "--json", "--where", "seed:0-2", "--runs-dir", runs_dir))
    whole = group_runs(run for group in groups for run in group.runs if run.seed < 3)
    [end] = [stretch for stretch in said["comparisons"][0]["stretches"] if stretch["over"] == "end"]
    assert (end["mean"], *end["t_interval"]) == paired(*whole, "test_accuracy").last
