"""`--notify` with jobs of a cluster: `lop wait` sends the notifications, not each task of the array."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lop_tui import cli
from lop_tui.commands import events
from tests.cli.test_run import write_config
from tests.launch.slurm.tasks import prepare
from tests.launch.slurm.test_submission import slurm as slurm

RECORD_CALL = 'echo "$LOP_EVENT $LOP_TOTAL" >> notifications'


def test_run_and_resume_refuse_notify_on_a_cluster_before_they_change_anything(here: Path, slurm: Path):
    write_config(here / "cbp.json")
    answer = CliRunner().invoke(cli.app, ["run", "cbp.json", "--launcher", "slurm", "--notify", RECORD_CALL])
    assert "on a cluster: lop wait --notify CMD" in str(answer.exception)
    assert not (here / "runs").exists()
    [run_dir] = prepare(here / "runs", job="17_0")
    run_dir.write_status(replace(run_dir.read_status(), state="failed"))
    before = run_dir.status_json.read_bytes()
    answer = CliRunner().invoke(cli.app, ["resume", "--notify", RECORD_CALL])
    assert "on a cluster: lop wait --notify CMD" in str(answer.exception)
    assert run_dir.status_json.read_bytes() == before
    assert not (here / "calls").exists() or "sbatch" not in (here / "calls").read_text()


def test_wait_notifies_once_for_all_tasks_of_an_array(here: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "LOOK_EVERY_S", 0.01)
    runs = prepare(here / "runs", seeds=range(4))
    for number, run_dir in enumerate(runs):
        state = "failed" if number % 2 else "finished"
        run_dir.write_status(replace(run_dir.read_status(), state=state, job=f"17_{number}"))
    answer = CliRunner().invoke(cli.app, ["wait", "--notify", RECORD_CALL], standalone_mode=False)
    assert answer.return_value == 1, answer.output
    assert sorted((here / "notifications").read_text().splitlines()) == ["end 4", "failure 4"]
