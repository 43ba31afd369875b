"""The lines that `lop run` prints during training without a terminal."""

import io
import json
import time
from dataclasses import replace
from functools import partial

import pytest

from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader
from lop_tui.commands import supervise
from lop_tui.commands.supervise import LineDisplay
from lop_tui.words.console import Console
from tests.cli.test_views import lop
from tests.helpers import append_tasks, make_metrics, make_run


@pytest.mark.parametrize(
    ("done", "expected"), [((150, 150), "bp  150/150 tasks  "), ((90, 120), "bp  90-120/150 tasks  ")]
)
def test_progress_counts_tasks_of_each_seed_and_not_their_sum(tmp_path, done, expected):
    for seed, tasks_done in enumerate(done):
        make_run(tmp_path, "bp", seed=seed, num_tasks=150, tasks_done=tasks_done)
    printed = io.StringIO()
    LineDisplay(Console(file=printed, width=200)).update(RunsReader(tmp_path).read(), stopping=False)
    assert expected in printed.getvalue()


def shown_again(tmp_path, monkeypatch, change) -> tuple[str, str]:
    """Return what a display prints of the runs in `tmp_path`, and what it adds after `change` was called."""
    monkeypatch.setattr(supervise, "PLAIN_EVERY_S", 0.0)
    printed = io.StringIO()
    display, reader = LineDisplay(Console(file=printed, width=200)), RunsReader(tmp_path)
    display.update(reader.read(), stopping=False)
    first = printed.getvalue()
    change()
    display.update(reader.read(), stopping=False)
    return first, printed.getvalue().removeprefix(first)


def make_study(tmp_path):
    for number in range(50):
        make_run(tmp_path, "bp", setting=f"step_size={number}", state="queued", tasks_done=0)
    make_run(tmp_path, "cbp", 0, state="running", tasks_done=10, heartbeat_at=time.time())
    return make_run(tmp_path, "l2", 0, state="running", tasks_done=10, heartbeat_at=time.time())


def test_queued_settings_share_a_line(tmp_path, monkeypatch):
    make_study(tmp_path)
    first, more = shown_again(tmp_path, monkeypatch, lambda: None)
    assert "50 settings queued (50 runs)" in first.splitlines()
    assert len(first.splitlines()) == 4
    assert more == ""


def test_only_what_has_changed_is_printed_again(tmp_path, monkeypatch):
    run_dir = make_study(tmp_path)
    change = partial(append_tasks, run_dir, make_metrics("l2", 40, 0), 10, 12)
    _, more = shown_again(tmp_path, monkeypatch, change)
    lines = more.splitlines()
    assert [line.split()[0] for line in lines] == ["l2", "all"]
    assert "12/40 tasks" in lines[0]
    assert lines[1].startswith("all runs done in about ")


def test_a_setting_that_starts_leaves_the_line_of_queued_settings(tmp_path, monkeypatch):
    make_study(tmp_path)
    run_dir = RunDir(tmp_path / "bp" / "step_size=7" / "seed_000")
    change = partial(run_dir.write_status, replace(run_dir.read_status(), state="running", heartbeat_at=time.time()))
    _, more = shown_again(tmp_path, monkeypatch, change)
    assert "49 settings queued (49 runs)" in more
    assert more.splitlines()[0].startswith("bp step_size=7")
    assert "cbp" not in more


def test_status_and_watch_estimate_when_all_runs_will_be_done(tmp_path):
    for seed in range(4):
        state = "running" if seed < 2 else "queued"
        done = 20 if seed < 2 else 0
        run_dir = make_run(tmp_path, "bp", seed, state=state, tasks_done=done, heartbeat_at=time.time())
        run_dir.write_status(replace(run_dir.read_status(), pid=1000 + seed if seed < 2 else None))
    status = json.loads(lop("status", "--json", "--runs-dir", tmp_path))
    assert status["eta_s"] == json.loads(lop("watch", "--json", "--runs-dir", tmp_path))["eta_s"]
    # Two workers have 20 tasks of 10 epochs left at 2.5 epochs a second, then each trains a run of 40 tasks of 1.5 s.
    assert status["eta_s"] == pytest.approx(20 * 10 / 2.5 + 40 * 1.5)
    for command in (["status"], ["watch", "--once"]):
        assert "all runs done in about 2m" in lop(*command, "--runs-dir", tmp_path)
