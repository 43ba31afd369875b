"""`--notify` and `lop wait`: which events they report, when, and that a slow command delays nothing."""

import os
import threading
import time
from dataclasses import replace

import psutil
import pytest

from lop_engine.processes import this_process
from lop_tui.commands import events
from lop_tui.commands.events import Notifier, read_statuses
from tests.cli.test_run import here as here
from tests.cli.test_run import lop, wait_for, write_config
from tests.helpers import make_run

RECORD_CALL = 'env | grep "^LOP_" | sort > "call-$LOP_EVENT-$(date +%s%N)"'


@pytest.fixture
def notified(here):
    """Return a function that reads the variables of each call of RECORD_CALL so far, in order of time."""

    def read() -> list[dict[str, str]]:
        files = sorted(here.glob("call-*"), key=lambda path: path.name.rsplit("-", 1)[1])
        return [dict(line.split("=", 1) for line in path.read_text().splitlines()) for path in files]

    return read


def set_status(run_dir, **changes) -> None:
    run_dir.write_status(replace(run_dir.read_status(), **changes))


def make_study(here, *states) -> list:
    return [make_run(here / "runs", "bp", seed, state=state, tasks_done=3) for seed, state in enumerate(states)]


def test_a_failure_a_rule_and_the_end_are_each_notified_once_with_counts(here, notified):
    runs = make_study(here, "running", "running", "running", "queued")
    notifier = Notifier(RECORD_CALL, here / "runs")

    def look(times: int = 1) -> None:
        for _ in range(times):
            notifier.look(read_statuses(runs))

    look()
    set_status(runs[0], state="failed", error="out of memory")
    look(3)
    for run in runs[1:3]:
        set_status(run, state="ended-by-rule", rule="nan", rule_task=3)
    look(3)
    set_status(runs[3], state="finished")
    assert notifier.end(read_statuses(runs), 1) == []
    calls = {call["LOP_EVENT"]: call for call in notified()}
    assert len(notified()) == len(calls) == 3
    failure, rule, end = calls["failure"], calls["rule"], calls["end"]
    assert (failure["LOP_RUN"], failure["LOP_ERROR"]) == ("bp/default/seed_000", "out of memory")
    counts = failure["LOP_TOTAL"], failure["LOP_FAILED"], failure["LOP_RUNNING"], failure["LOP_QUEUED"]
    assert counts == ("4", "1", "2", "1")
    assert (rule["LOP_RULE"], rule["LOP_TASK"], rule["LOP_ENDED_BY_RULE"]) == ("nan", "3", "2")
    assert (end["LOP_STATE"], end["LOP_EXIT_STATUS"], end["LOP_FINISHED"]) == ("failed", "1", "1")
    assert end["LOP_MESSAGE"] == "lop: 4 runs: 1 finished, 2 ended-by-rule, 1 failed"
    assert end["LOP_RUNS_DIR"] == str(here / "runs")


def test_a_run_that_is_retried_at_once_is_not_notified_as_failed(here, notified):
    [run] = make_study(here, "failed")
    notifier = Notifier(RECORD_CALL, here / "runs")
    notifier.look(read_statuses([run]))
    set_status(run, state="queued")
    notifier.look(read_statuses([run]))
    set_status(run, state="finished")
    notifier.end(read_statuses([run]), 0)
    assert [call["LOP_EVENT"] for call in notified()] == ["end"]


def test_each_rule_is_notified_once(here, notified):
    runs = make_study(here, *["ended-by-rule"] * 3)
    for run, rule in zip(runs, ("nan", "nan", "diverged"), strict=True):
        set_status(run, rule=rule, rule_task=1)
    Notifier(RECORD_CALL, here / "runs").end(read_statuses(runs), 0)
    assert sorted(call.get("LOP_RULE", "") for call in notified()) == ["", "diverged", "nan"]


def test_a_slow_notification_does_not_delay_the_launcher_and_is_killed_with_its_children(here, monkeypatch):
    monkeypatch.setattr(events, "LIMIT_S", 0.5)
    runs = make_study(here, "ended-by-rule")
    notifier = Notifier("sleep 77.5 & echo $! > child; wait", here / "runs")
    began = time.monotonic()
    notifier.look(read_statuses(runs))
    assert time.monotonic() - began < 0.4
    warnings = notifier.end(read_statuses(runs), 0)
    assert time.monotonic() - began < 10
    assert len(warnings) == 2
    assert "took more than" in warnings[0]
    child = int((here / "child").read_text())
    wait_for(lambda: has_died(child), 10)  # a killed process may run for another moment


def has_died(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_notification_that_fails_is_a_warning(here):
    [run] = make_study(here, "finished")
    assert Notifier("exit 3", here / "runs").end(read_statuses([run]), 0) == [
        "--notify: ended with exit status 3: exit 3"
    ]


def test_any_error_is_notified_as_one_line_that_fits_in_an_environment_variable(here, notified):
    [run] = make_study(here, "failed")
    set_status(run, error="Traceback (most recent call last):\nRuntimeError: a\x00b\x1b[31m" + "x" * 300_000)
    assert Notifier(RECORD_CALL, here / "runs").end(read_statuses([run]), 1) == []
    failure, _ = sorted(notified(), key=lambda call: call["LOP_EVENT"], reverse=True)
    assert failure["LOP_ERROR"].startswith("RuntimeError: abxxx")
    assert len(failure["LOP_ERROR"]) < 10_000
    done = lop("wait")
    assert len(done.stdout) < 20_000
    assert "Traceback" not in done.stdout


@pytest.mark.long
def test_lop_run_notifies_a_rule_and_the_end_with_its_exit_status(here, notified):
    write_config(here / "cbp.json", stop_when="test_accuracy>=0 for 2 tasks")
    done = lop("run", "cbp.json", "--seeds", "2", "--notify", RECORD_CALL)
    assert done.returncode == 0, done.stderr
    rule, end = sorted(notified(), key=lambda call: call["LOP_EVENT"], reverse=True)
    assert (rule["LOP_EVENT"], rule["LOP_RULE"]) == ("rule", "test_accuracy>=0 for 2 tasks")
    assert (end["LOP_EVENT"], end["LOP_EXIT_STATUS"], end["LOP_ENDED_BY_RULE"]) == ("end", "0", "2")


def test_wait_returns_when_runs_of_another_process_have_ended(here):
    [run] = make_study(here, "queued")
    set_status(run, launcher=this_process())
    later = threading.Timer(2, set_status, (run,), {"state": "finished", "launcher": None})
    began = time.monotonic()
    later.start()
    done = lop("wait", "bp")
    assert (done.returncode, done.stdout) == (0, "1 run: 1 finished\n")
    assert time.monotonic() - began > 1.9


@pytest.mark.parametrize(
    ("state", "status", "message"),
    [
        ("finished", 0, "1 run: 1 finished"),
        ("diverged", 0, "1 run: 1 diverged"),
        ("ended-by-rule", 0, "1 run: 1 ended-by-rule"),
        ("failed", 1, "bp/default/seed_000: failed: out of memory"),
        ("stopped", 1, "bp/default/seed_000: stopped"),
        ("running", 1, "bp/default/seed_000: lost"),
        ("queued", 1, "queued, and the process that queued it is gone; lop resume trains it"),
    ],
)
def test_the_exit_status_of_wait_tells_whether_all_runs_ended(here, state, status, message):
    [run] = make_study(here, state)
    if state == "failed":
        set_status(run, error="out of memory")
    done = lop("wait")
    assert done.returncode == status, done.stderr
    assert message in done.stdout


def test_wait_gives_up_after_its_timeout(here):
    [run] = make_study(here, "queued")
    set_status(run, launcher=this_process())
    began = time.monotonic()
    done = lop("wait", "--timeout", "0.5")
    assert done.returncode == 124
    assert "1 run: 1 queued" in done.stdout
    assert time.monotonic() - began < 30


def test_wait_without_any_run_is_an_error(here):
    done = lop("wait", "--runs-dir", "rusn")
    assert done.returncode == 2
    assert "wait: no runs in rusn; start some with lop run CFG, or name another --runs-dir" in done.stderr


def test_wait_refuses_a_name_that_matches_no_run(here):
    make_study(here, "finished")
    done = lop("wait", "cbp")
    assert done.returncode == 2
    assert '"cbp" names no run' in done.stderr


def test_wait_runs_the_notification_command_too(here, notified):
    make_study(here, "failed", "finished")
    assert lop("wait", "--notify", RECORD_CALL, env=os.environ).returncode == 1
    assert {call["LOP_EVENT"]: call.get("LOP_EXIT_STATUS") for call in notified()} == {"failure": None, "end": "1"}
