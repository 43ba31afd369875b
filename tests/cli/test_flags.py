"""Every view flags readable records that are incomplete or not finite."""

import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lop_engine.machine.doctor import examine_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import TableWriter, read_table
from lop_engine.runs.views import not_finite
from lop_tui import cli
from lop_tui.commands.training import conclude, identities
from tests.cli.test_views import lop
from tests.helpers import append_tasks, make_metrics, make_run


@pytest.fixture
def runs_dir(tmp_path):
    make_run(tmp_path / "runs", "bp", 0)
    make_run(tmp_path / "runs", "bp", 1)
    return tmp_path / "runs"


def lose_tasks(runs_dir):
    """Make a finished run that lacks a quarter of its records."""
    run = make_run(runs_dir, "cbp", 0)
    TableWriter(run.tasks_json, "tasks", keep=30).close()
    return run


def spoil(runs_dir, method="cbp", seed=0, state="finished", metrics=("curvature",), tasks=range(40), absent=()):
    """Make a run whose `metrics` are null in `tasks`, and not recorded in `absent`."""
    run = make_run(runs_dir, method, seed, state=state, tasks_done=0)
    append_tasks(run, make_metrics(method, 40, seed), 0, 40)
    documents = read_table(run.tasks_json)
    for document in documents:
        for metric in metrics:
            if document["task"] in absent:
                del document[metric]
            elif document["task"] in tasks:
                document[metric] = None
    with TableWriter(run.tasks_json, "tasks", keep=0) as writer:
        writer.extend(documents)
    return run


def views(runs_dir, tmp_path, names=("bp", "cbp")):
    """Return the text of each view, by name."""
    here = "--runs-dir", runs_dir
    report = tmp_path / "report.html"
    lop("report", *here, "-o", report)
    texts = {
        "report": report.read_text(),
        "compare": lop("compare", *names, *here),
        "compare --json": lop("compare", *names, "--json", *here),
        "plot": lop("plot", "-o", tmp_path / "figure.png", *here),
        "export": lop("export", "--format", "csv", "-o", tmp_path / "all.csv", "--force", *here),
        "status": lop("status", *here),
        "status --json": lop("status", "--json", *here),
        "list": lop("list", *here),
        "list --json": lop("list", "--json", *here),
        "show": lop("show", "cbp/default/0", *here),
        "show --json": lop("show", "cbp/default/0", "--json", *here),
        "watch --once": lop("watch", runs_dir, "--once"),
        "check": CliRunner().invoke(cli.app, ["check", "--runs-dir", str(runs_dir)]).stdout,
        "check --json": CliRunner().invoke(cli.app, ["check", "--json", "--runs-dir", str(runs_dir)]).stdout,
        "watch --json": lop("watch", runs_dir, "--json"),
        "doctor": "\n".join(finding.what for finding in examine_runs(runs_dir, repair=False)),
    }
    return {name: " ".join(text.split()) for name, text in texts.items()}


def test_every_view_flags_a_finished_run_with_fewer_tasks_than_in_its_status(runs_dir, tmp_path):
    lose_tasks(runs_dir)
    for name, text in views(runs_dir, tmp_path).items():
        assert "tasks.json holds 30 of 40 finished tasks" in text, name
        assert "--fresh" not in text, name


def test_a_running_run_or_one_ahead_of_its_status_is_not_flagged(runs_dir):
    make_run(runs_dir, "l2", 0, state="stopped", tasks_done=12)
    ahead = make_run(runs_dir, "snp", 0, num_tasks=40, tasks_done=39)
    append_tasks(ahead, make_metrics("snp", 40, 0), 39, 40)
    assert [run.flags for run in RunsReader(runs_dir).read().runs] == [()] * 4


def test_every_view_flags_a_metric_that_was_never_finite(runs_dir, tmp_path):
    spoil(runs_dir)
    for name, text in views(runs_dir, tmp_path).items():
        assert "curvature not finite from task 1" in text, name
        assert "not recorded" not in text, name


def test_the_closing_table_of_lop_run_flags_a_metric_that_was_never_finite(runs_dir, capsys):
    run = spoil(runs_dir)
    assert conclude(Console(width=200), runs_dir, identities([run])) == 0
    assert "cbp/default/seed_000: curvature not finite from task 1" in capsys.readouterr().out


def test_a_run_that_diverged_is_not_flagged_twice(runs_dir):
    spoil(runs_dir, state="diverged", metrics=("curvature", "test_accuracy"), tasks=[39])
    assert RunsReader(runs_dir).read().runs[-1].flags == ()


def test_nulls_are_flagged_as_not_finite_and_missing_keys_are_not_flagged(runs_dir):
    spoil(runs_dir, "cbp", 0, tasks=range(30, 40))
    spoil(runs_dir, "cbp", 1, tasks=[1, 4, 5], absent=range(10, 40))
    spoil(runs_dir, "cbp", 2, tasks=[], absent=range(0, 40, 2))
    spoil(runs_dir, "cbp", 3, metrics=("curvature", "effective_rank", "stable_rank"))
    flags = [run.flags for run in RunsReader(runs_dir).read().runs[2:]]
    assert flags == [
        ("curvature not finite from task 31",),
        ("curvature not finite in 3 of 10 tasks, first in task 2",),
        (),
        ("curvature, effective rank and stable rank not finite from task 1",),
    ]


def test_flags_follow_the_records_of_a_growing_run(runs_dir):
    run = make_run(runs_dir, "cbp", 0, state="stopped", tasks_done=2)
    reader = RunsReader(runs_dir)
    flags = []
    for value in (0.5, None, None, 0.25):
        with TableWriter(run.tasks_json, "tasks") as writer:
            writer.append({"task": writer.num_documents, "curvature": value})
        flags.append(reader.read().runs[-1].flags)
    assert flags == [
        (),
        ("curvature not finite from task 4",),
        ("curvature not finite from task 4",),
        ("curvature not finite in 2 of 6 tasks, first in task 4",),
    ]
    assert not_finite({"srank": np.array([1.0, np.nan])}, {}) == []


def test_many_runs_with_one_flag_share_a_line(runs_dir):
    for seed in range(5):
        spoil(runs_dir, "cbp", seed)
    notices = json.loads(lop("watch", runs_dir, "--json"))["notices"]
    assert notices == [{"run": "cbp/default/seed_000", "text": "curvature not finite from task 1 (and in 4 more runs)"}]


def test_a_panel_of_a_metric_that_was_never_finite_says_so(runs_dir, tmp_path):
    for path in list(runs_dir.glob("bp/*/*")):
        lop("rm", f"bp/default/{int(path.name[-3:])}", "--yes", "--runs-dir", runs_dir)
    spoil(runs_dir)
    figure = tmp_path / "figure.svg"
    lop("plot", "--kind", "metrics", "-o", figure, "--runs-dir", runs_dir)
    assert "curvature" in figure.read_text()
    assert "not finite" in figure.read_text()
