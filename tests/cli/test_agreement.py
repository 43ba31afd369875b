"""All views of runs show the same numbers to the last digit, because they share one aggregation."""

import csv
import json

import numpy as np
import pytest

from lop_engine.analysis import average, group_runs
from lop_engine.analysis import compare as paired
from lop_engine.experiment import lookup
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.reading import RunsReader
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
    panel, factor = figures.draw(groups, [metric]).axes[0], lookup.metric(metric).factor
    drawn = {tuple(line.get_ydata()) for line in panel.lines}
    for group, shown in zip(groups, watched, strict=True):
        curve, values = group.curve(metric), shown["metrics"][metric]
        assert values["mean"] == curve.mean.tolist()
        assert values["standard_error"] == curve.standard_error.tolist()
        whole = curve.num_seeds == curve.num_seeds.max()  # a new line where the number of seeds changes
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


def test_averages_of_exported_values_equal_those_in_watch(runs_dir, groups, tmp_path):
    lop("export", "--format", "npz", "-o", tmp_path / "all.npz", "--runs-dir", runs_dir)
    with np.load(tmp_path / "all.npz") as file:
        arrays = dict(file)
    for group in groups:
        [name] = [key for key in arrays if key.startswith(f"{group.experiment}/") and key.endswith("test_accuracy")]
        curve = group.curve("test_accuracy")
        again = average([row[np.isfinite(row)] for row in arrays[name]], curve.bin_size, group.num_tasks)
        assert again.mean.tolist() == curve.mean.tolist()


def test_compare_prints_the_difference_that_watch_draws(runs_dir, groups):
    output = json.loads(lop("compare", "bp", "cbp", "--json", "--where", "seed:0-2", "--runs-dir", runs_dir))
    whole = group_runs(run for group in groups for run in group.runs if run.seed < 3)
    [end] = [stretch for stretch in output["comparisons"][0]["stretches"] if stretch["over"] == "end"]
    assert (end["mean"], *end["t_interval"]) == paired(*whole, "test_accuracy").last


@pytest.mark.parametrize("done", [130, 60, 9])
@pytest.mark.long
def test_every_view_shows_the_same_final_accuracy(tmp_path, done):
    """It averages the last tenth of the tasks; for unfinished runs the last complete tenth, or all tasks done."""
    state = "finished" if done == 130 else "stopped"
    for method in ("bp", "cbp"):
        for seed in range(3):
            make_run(tmp_path, method, seed, num_tasks=130, tasks_done=done, state=state)
    of = "--runs-dir", tmp_path
    part = slice(0, 9) if done < 13 else slice((done // 13 - 1) * 13, done // 13 * 13)
    views = RunsReader(tmp_path).read().runs
    final = {view.dir.name: view.series["test_accuracy"][part].mean() for view in views}
    status = json.loads(lop("status", "--json", *of))["runs"]
    assert {run["run"]: run["last_tenth"]["test_accuracy"] for run in status} == final
    in_status = lop("status", *of)
    lop("report", *of)
    page, once, listed = (tmp_path / "report.html").read_text(), lop("watch", "--once", *of), lop("list", *of)
    as_json = json.loads(lop("list", "--json", *of))["settings"]
    means = []
    for group, row in zip(group_runs(views), as_json, strict=True):
        values = [final[run.dir.name] for run in group.runs]
        means.append(np.mean(values))
        assert row["headline_last_tenth"] == pytest.approx(means[-1], rel=1e-12)
        shown = f"{100 * np.mean(values):.1f} ± {100 * np.std(values) / 3**0.5:.1f}"
        assert all(shown in text for text in (page, once, listed)), shown
        assert all(f"{100 * value:.1f}" in in_status for value in values)
    [compared] = json.loads(lop("compare", "bp", "cbp", "--json", *of))["comparisons"]
    [tenth] = [stretch for stretch in compared["stretches"] if stretch["over"] == "tenth"]
    assert tenth["tasks"] == [part.start + 1, part.stop if done >= 13 else compared["last_task"]]
    if done >= 13:
        assert tenth["mean"] == pytest.approx(means[1] - means[0], rel=1e-9)
