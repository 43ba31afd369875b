"""Runs that a rule ended: every view counts and names them, and an option decides how means count them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lop_engine.analysis import final_value, group_runs, summarise, tenths_of, window_means
from lop_engine.analysis.comparison import compare_to_first
from lop_engine.analysis.windows import Window
from lop_engine.runs.reading import RunsReader
from tests.cli.test_views import lop as lop_at_any_width
from tests.cli.test_views import refused
from tests.helpers import make_metrics, make_run

RULE = "test_accuracy<0.55 for 100 tasks"
METRIC = "test_accuracy"
NUM_TASKS, ENDED_AFTER = 40, 13


@pytest.fixture
def lop(monkeypatch):
    """Run `lop` in a terminal wide enough for every notice."""
    monkeypatch.setenv("COLUMNS", "250")
    return lop_at_any_width


def make_ended(runs_dir, method="bp", seed=2, tasks_done=ENDED_AFTER):
    run_dir = make_run(runs_dir, method, seed, num_tasks=NUM_TASKS, tasks_done=tasks_done, state="ended-by-rule")
    run_dir.write_status(replace(run_dir.read_status(), rule=RULE, rule_task=tasks_done))
    return run_dir


@pytest.fixture
def runs_dir(tmp_path):
    for method in ("bp", "cbp"):
        for seed in range(2):
            make_run(tmp_path, method, seed, num_tasks=NUM_TASKS)
    make_ended(tmp_path)
    make_run(tmp_path, "cbp", 2, num_tasks=NUM_TASKS)
    return tmp_path


def group_of(runs_dir, method="bp", carries=True):
    return next(group for group in group_runs(RunsReader(runs_dir, carries).read().runs) if group.method == method)


def series_of(method, seed):
    return make_metrics(method, NUM_TASKS, seed)[METRIC].round(6)


def last_value(method="bp", seed=2):
    return float(f"{make_metrics(method, NUM_TASKS, seed)[METRIC][ENDED_AFTER - 1]:.6g}")


def test_means_count_the_last_value_of_an_ended_seed_to_the_end(runs_dir):
    expected = np.mean([np.mean(series_of("bp", seed)[-4:]) for seed in (0, 1)] + [last_value()])
    summary = summarise(group_of(runs_dir), METRIC)
    assert summary.num_seeds_last == 3
    assert summary.last == pytest.approx(expected, abs=1e-5)
    assert tenths_of(group_of(runs_dir), METRIC).by_seed("last")[2] == pytest.approx(last_value())
    assert window_means(group_of(runs_dir), METRIC, Window(30, 40))[2] == pytest.approx(last_value())
    assert set(group_of(runs_dir).curve(METRIC).num_seeds) == {3}


def test_an_ended_seed_that_is_left_out_counts_only_up_to_its_end(runs_dir):
    left_out = group_of(runs_dir, carries=False)
    summary = summarise(left_out, METRIC)
    assert summary.num_seeds_last == 2
    assert summary.last == pytest.approx(np.mean([np.mean(series_of("bp", seed)[-4:]) for seed in (0, 1)]), abs=1e-5)
    assert left_out.curve(METRIC, 1).num_seeds.tolist() == [3] * ENDED_AFTER + [2] * (NUM_TASKS - ENDED_AFTER)


def test_a_pair_with_an_ended_seed_counts_or_is_left_out_by_choice(runs_dir):
    for carries, pairs, left_out in ((True, (0, 1, 2), ()), (False, (0, 1), (2,))):
        groups = [group_of(runs_dir, method, carries) for method in ("bp", "cbp")]
        [comparison] = compare_to_first(groups, METRIC)
        assert (comparison.pairs, comparison.left_out, comparison.last_task) == (pairs, left_out, NUM_TASKS)


def test_the_last_value_of_an_ended_seed_is_carried_only_as_far_as_other_seeds_have_trained(tmp_path):
    make_ended(tmp_path)
    make_run(tmp_path, "bp", 0, num_tasks=NUM_TASKS, tasks_done=20, state="running")
    make_run(tmp_path, "bp", 1, num_tasks=NUM_TASKS, tasks_done=0, state="queued")
    curve = group_of(tmp_path).curve(METRIC, 1)
    assert curve.num_seeds.tolist() == [2] * 20


def test_a_setting_all_of_whose_seeds_were_ended_is_carried_to_the_end(tmp_path):
    make_ended(tmp_path, seed=0)
    assert set(group_of(tmp_path).curve(METRIC, 1).task) == set(range(1, NUM_TASKS + 1))
    [run] = RunsReader(tmp_path).read().runs
    assert final_value(run, METRIC) == pytest.approx(last_value(seed=0))
    assert run.tasks_recorded == ENDED_AFTER


COMMANDS = [
    ["status"],
    ["list"],
    ["compare", "bp", "cbp"],
    ["power", "bp", "cbp"],
    ["table"],
    ["best"],
    ["plot", "-o", "figure.svg"],
    ["watch", "--once"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_every_view_counts_and_names_the_seeds_that_a_rule_ended(lop, runs_dir, command):
    output = " ".join(lop(*command, "--runs-dir", runs_dir).split())
    assert f"1 of 3 seeds ended by rule ({RULE}: seed 2 after task 13)" in output
    assert "means count their last values" in output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_every_view_can_leave_ended_seeds_out_and_says_so(lop, runs_dir, command):
    output = " ".join(lop(*command, "--runs-dir", runs_dir, "--ended-by-rule", "leave-out").split())
    assert "later means leave them out" in output


def test_a_report_names_ended_seeds(lop, runs_dir, tmp_path):
    lop("report", "--runs-dir", runs_dir, "-o", tmp_path / "report.html")
    assert f"1 of 3 seeds ended by rule ({RULE}".replace("<", "&lt;") in (tmp_path / "report.html").read_text()


def test_json_has_state_rule_and_task(lop, runs_dir):
    [run] = json.loads(lop("status", "--json", "--where", "state:ended-by-rule", "--runs-dir", runs_dir))["runs"]
    assert (run["run"], run["rule"], run["rule_task"]) == ("bp/default/seed_002", RULE, ENDED_AFTER)
    assert run["tasks_done"] == ENDED_AFTER
    [bp, _] = json.loads(lop("list", "--json", "--runs-dir", runs_dir))["settings"]
    assert bp["states"] == {"finished": 2, "ended-by-rule": 1}


def test_show_prints_the_rule_and_the_task_at_which_it_held(lop, runs_dir):
    assert f"ended-by-rule, 13 of 40 tasks, after task 13: {RULE}" in lop(
        "show", "bp/default/2", "--runs-dir", runs_dir
    )


def test_an_unknown_way_of_counting_ended_seeds_is_refused(runs_dir, monkeypatch, capsys):
    assert "choose carry or leave-out" in refused(
        monkeypatch, capsys, "list", "--runs-dir", runs_dir, "--ended-by-rule", "drop"
    )


def test_resume_skips_ended_runs_and_says_how_to_continue_them(lop, runs_dir):
    output = lop("resume", "--runs-dir", runs_dir)
    assert "1 of 6 runs is ended by a rule already (lop resume RUN --stop-when none continues without it)" in output
    assert "nothing to resume" in output
