"""Runs of a user's own component that are killed and whose code changes before they resume."""

import os
import signal
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from lop_engine import NUMERICS
from lop_engine.runs.directory import RunDir, write_json
from lop_engine.runs.store import read_table
from lop_tui.cli import main
from tests.experiment.test_own_files import look, lop, own_registries, records, write

__all__ = ["look", "own_registries"]


@cache
def uninterrupted() -> list[dict]:
    """Return the records of an uninterrupted run of my_redo."""
    lop("run", "mine.json", "--seeds", "1", "--runs-dir", "whole")
    return records(RunDir(Path("whole/mine/default/seed_000")))


@pytest.fixture
def half_a_run():
    """Make a run of my_redo that was killed after its first tasks; return it and uninterrupted records."""
    write(agent="./my_redo.py", num_tasks=150, examples=20)
    whole = uninterrupted()
    lop("run", "mine.json", "--seeds", "1", "--detach")
    run_dir = RunDir(Path("runs/mine/default/seed_000"))
    deadline = time.monotonic() + 60
    while not run_dir.tasks_json.exists() or len(read_table(run_dir.tasks_json)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(run_dir.read_status().pid or 0, signal.SIGKILL)
    lop("stop")
    assert len(records(run_dir)) < 150
    return run_dir, whole


def test_changed_code_is_refused_and_the_stored_copy_resumes_bit_exactly(half_a_run):
    run_dir, whole = half_a_run
    path = Path("my_redo.py")
    path.write_text(path.read_text().replace("score <= self", "score > self"))
    for command in (["resume"], ["run", "mine.json", "--seeds", "1"]):
        answer = lop(*command, check=False)
        assert answer.returncode == 2
        assert "my_redo.py has changed since the run began" in answer.stderr
        assert "score <= self" in answer.stderr
        assert "score > self" in answer.stderr
        assert "Traceback" not in answer.stderr
    lop("resume", "--use-stored-code")
    assert records(run_dir) == whole


def test_changed_code_can_be_accepted_and_is_recorded(half_a_run):
    run_dir, whole = half_a_run
    before = run_dir.read_config()["files"]
    path = Path("my_redo.py")
    path.write_text(path.read_text() + "\n# a remark\n")
    lop("run", "mine.json", "--seeds", "1", "--accept-code-change")
    assert records(run_dir) == whole
    config = run_dir.read_config()
    assert config["earlier_files"] == [before]
    assert config["files"] != before
    assert next(run_dir.path.glob("code/*/my_redo.py")).read_text() == path.read_text()


def test_new_seeds_beside_finished_ones_of_other_code_are_refused_unless_accepted():
    write(agent="./my_redo.py", num_tasks=1, examples=5)
    lop("run", "mine.json", "--seeds", "1")
    path = Path("my_redo.py")
    path.write_text(path.read_text() + "\n# a remark\n")
    answer = lop("run", "mine.json", "--seeds", "2", check=False)
    assert answer.returncode == 2
    assert "my_redo.py has changed since the run began" in answer.stderr
    first, second = (RunDir(Path(f"runs/mine/default/seed_00{seed}")) for seed in (0, 1))
    before = first.read_config()
    lop("run", "mine.json", "--seeds", "2", "--accept-code-change")
    assert first.read_config() == before
    assert second.read_config()["files"] != before["files"]


def test_a_run_of_other_numerics_of_lop_is_refused_unless_accepted(half_a_run):
    run_dir, whole = half_a_run
    config = run_dir.read_config()
    assert config["code"]["numerics"] == NUMERICS
    write_json(run_dir.run_json, config | {"code": {"numerics": NUMERICS - 1}})
    answer = lop("resume", check=False)
    assert answer.returncode == 2
    assert f"numerics {NUMERICS - 1}, now {NUMERICS}" in answer.stderr
    lop("resume", "--accept-code-change")
    assert records(run_dir) == whole
    assert run_dir.read_config()["code"] == {"numerics": NUMERICS, "earlier_numerics": [NUMERICS - 1]}


def test_seeds_of_different_code_are_not_averaged(half_a_run, look, monkeypatch, capsys):
    path = Path("my_redo.py")
    path.write_text(path.read_text() + "\n# a remark\n")
    lop("run", "mine.json", "--seeds", "0,1", "--accept-code-change")
    for command in (["plot", "-o", "x.png"], ["report", "-o", "x.html"]):
        monkeypatch.setattr(sys, "argv", ["lop", *command])
        with pytest.raises(SystemExit, match="2"):
            main()
        output = capsys.readouterr().err
        assert "mine/default: seed 0 and seed 1 were trained by different code (my_redo.py, which was changed" in output
    look(["plot", "-o", "x.png", "--where", "-seed:1"])


def test_a_run_whose_file_is_missing_resumes_with_its_stored_copy(half_a_run):
    run_dir, whole = half_a_run
    for path in Path().glob("my_*.py"):
        path.unlink()
    lop("resume")
    assert records(run_dir) == whole


def test_accepting_changed_code_needs_the_file_and_can_be_repeated_after_a_kill(half_a_run):
    run_dir, whole = half_a_run
    path = Path("my_redo.py")
    content = path.read_text()
    path.unlink()
    Path("my_mlp.py").write_text(Path("my_mlp.py").read_text() + "\n# a remark\n")
    before = run_dir.read_config()
    answer = lop("resume", "--accept-code-change", check=False)
    assert answer.returncode == 2
    assert "my_redo.py is gone; choose --use-stored-code, or put it back" in answer.stderr
    assert run_dir.read_config() == before
    path.write_text(content)
    (run_dir.path / "code").rename(run_dir.path / "code.earlier-1")  # as after a kill before run.json was written
    lop("resume", "--accept-code-change")
    assert records(run_dir) == whole
