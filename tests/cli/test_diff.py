"""`lop diff`, and how views name and count settings, seeds and runs."""

import json

import pytest

from lop_engine.analysis import group_runs
from lop_engine.runs.reading import RunsReader
from lop_tui.dashboard.rows import short_labels
from tests.cli.test_views import lop, refused
from tests.helpers import make_run


def make_setting(runs_dir, experiment, seeds=(0,), state="finished", **spec):
    setting = ",".join(f"{key}={value}" for key, value in spec.items()) or "default"
    for seed in seeds:
        done = None if state == "finished" else 12
        make_run(runs_dir, experiment, seed, setting=setting, spec=spec, num_tasks=40, tasks_done=done, state=state)


@pytest.fixture
def runs_dir(tmp_path):
    for step_size in (0.1, 0.01):
        make_setting(tmp_path, "bp", step_size=step_size)
        for decay in (0.001, 0.0001):
            make_setting(tmp_path, "l2", step_size=step_size, weight_decay=decay)
    make_setting(tmp_path, "cbp", replacement_rate=1e-4)
    return tmp_path


def test_only_keys_that_differ_are_shown(runs_dir):
    answer = json.loads(lop("diff", "bp", "l2/step_size=0.1,weight_decay=0.001", "--json", "--runs-dir", runs_dir))
    assert set(answer["keys"]) == {"agent", "step_size", "weight_decay"}
    assert [one["setting"] for one in answer["settings"]] == [
        "bp step_size=0.01",
        "bp step_size=0.1",
        "l2 step_size=0.1,weight_decay=0.001",
    ]
    shown = lop("diff", "bp", "cbp", "--runs-dir", runs_dir)
    assert "replacement_rate" in shown
    assert "momentum" not in shown
    assert "-: the key has no effect there" in shown


def test_the_diff_of_all_settings_fits_80_columns_and_includes_the_number_of_tasks(runs_dir):
    make_run(runs_dir, "long", 0, num_tasks=400, spec={"agent": "bp"})
    shown = lop("diff", "--runs-dir", runs_dir)
    assert max(map(len, shown.splitlines())) <= 80
    assert "num_tasks" in shown
    same = lop("diff", "bp", "--where", "setting:step_size=0.1,step_size=0.01", "--runs-dir", runs_dir)
    assert "2 settings: 1 key in which they differ" in same


def test_a_single_setting_cannot_be_compared(runs_dir, monkeypatch, capsys):
    output = refused(monkeypatch, capsys, "diff", "cbp", "--runs-dir", runs_dir)
    assert "diff: 1 setting to compare; name two or more" in output


def test_settings_are_named_by_the_keys_that_vary_and_names_are_distinct(runs_dir):
    def shorts(where):
        groups = [group for group in group_runs(RunsReader(runs_dir).read().runs) if where(group)]
        return [short_labels(groups)[group.label] for group in groups]

    assert shorts(lambda group: group.experiment == "bp") == ["bp 0.01", "bp 0.1"]
    assert shorts(lambda group: group.experiment == "l2") == [
        "l2 ss=0.01 wd=0.0001",
        "l2 ss=0.01 wd=0.001",
        "l2 ss=0.1 wd=0.0001",
        "l2 ss=0.1 wd=0.001",
    ]
    assert shorts(lambda group: "step_size=0.1," in group.setting) == ["l2 0.0001", "l2 0.001"]


def test_settings_are_distinct_in_a_frame_of_80_columns(tmp_path):
    for tail in ("a" * 30 + "x" + "b" * 30, "a" * 30 + "y" + "b" * 30):
        make_setting(tmp_path, "bp", note=tail)
    lines = lop("watch", "--once", "--runs-dir", tmp_path).splitlines()
    names = {line.split("  ")[0] for line in lines if "bp " in line[:8]}
    assert len(names) == 2


def test_unfinished_seeds_are_named_as_ranges(tmp_path):
    make_setting(tmp_path, "bp", seeds=range(6))
    make_setting(tmp_path, "cbp", seeds=range(5), state="stopped", agent="cbp")
    make_run(tmp_path, "cbp", 5, setting="agent=cbp", spec={"agent": "cbp"}, num_tasks=40)
    output = lop("compare", "bp", "cbp", "--runs-dir", tmp_path)
    assert "seeds 0-4 (stopped, 12 of 40 tasks)" in output


def test_messages_say_1_run_in_the_singular(tmp_path, monkeypatch, capsys):
    make_run(tmp_path, "bp", 0)
    for command in (("list",), ("plot",), ("table",), ("diff",)):
        assert "none of the 1 run in" in refused(
            monkeypatch, capsys, *command, "--where", "seed:9", "--runs-dir", tmp_path
        )
    assert "none of the 1 run in" in lop("status", "--where", "seed:9", "--runs-dir", tmp_path)
