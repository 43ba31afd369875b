"""Commands use memory for recorded tasks, not for planned ones; running out of memory is a one-line error."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from lop_engine.runs.directory import write_json
from lop_engine.runs.store import TableWriter
from tests.cli.test_views import lop, refused
from tests.helpers import TINY, make_run

HUGE = 10**9
MEMORY_BYTES = 2 * 2**30


@pytest.fixture
def runs_dir(tmp_path):
    """Make runs with one finished task out of 10^9 planned ones."""
    for method in ("bp", "cbp"):
        for seed in range(2):
            run = make_run(tmp_path / "runs", method, seed, num_tasks=20, tasks_done=1, state="stopped")
            spec = run.read_spec() | {"num_tasks": HUGE, "num_showings": HUGE}
            write_json(run.run_json, {"spec": spec, "seed": seed})
            status = run.read_status().to_dict() | {"num_tasks": HUGE, "num_epochs": HUGE}
            write_json(run.status_json, status)
            with TableWriter(run.epochs_json, "epochs") as table:
                table.extend({"task": 0, "epoch": epoch, "test_accuracy": 0.5} for epoch in range(3))
    return tmp_path / "runs"


LIMITED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
from lop_tui.cli import main
for line in sys.stdin:
    sys.argv = ["lop", *line.split()]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            print(line, ended.code, file=sys.stderr)
"""


def test_the_memory_of_every_command_depends_on_the_recorded_tasks(runs_dir, tmp_path):
    commands = [
        f"status --json --runs-dir {runs_dir}",
        f"list --runs-dir {runs_dir}",
        f"show bp/default/0 --runs-dir {runs_dir}",
        f"watch {runs_dir} --once",
        f"watch {runs_dir} --json",
        f"compare bp cbp --bin 1 --runs-dir {runs_dir}",
        f"report -o {tmp_path}/report.html --runs-dir {runs_dir}",
        f"plot --bin 1 -o {tmp_path}/tasks.svg --runs-dir {runs_dir}",
        f"plot --kind seeds --heatmap --bin 1 -o {tmp_path}/seeds.svg --runs-dir {runs_dir}",
        f"plot --kind within-task -o {tmp_path}/epochs.svg --runs-dir {runs_dir}",
        f"export --format npz --epochs -o {tmp_path}/all.npz --runs-dir {runs_dir}",
        f"export --format csv --epochs -o {tmp_path}/all.csv --runs-dir {runs_dir}",
        f"export --format pickle -o {tmp_path}/pickles --runs-dir {runs_dir}",
        f"import-results {tmp_path}/pickles --runs-dir {tmp_path}/imported",
    ]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], input="\n".join(commands), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["bp/default/test_accuracy"].shape == (2, 1)
        assert arrays["bp/default/epochs/test_accuracy"].shape == (2, 1, 3)
    run = json.loads(lop("status", "--json", "--runs-dir", tmp_path / "imported"))["runs"][0]
    assert (run["tasks_done"], run["num_tasks"]) == (1, HUGE)


def test_running_out_of_memory_is_an_error_in_one_line(runs_dir, monkeypatch, capsys):
    def allocate(*_):
        np.empty(2**55)

    monkeypatch.setattr("lop_engine.runs.reading.RunsReader.read", allocate)
    output = refused(monkeypatch, capsys, "status", "--runs-dir", runs_dir)
    assert output.startswith("lop: out of memory (Unable to allocate 256. PiB")
    assert output.count("\n") == 1


@pytest.mark.long
def test_a_hundred_thousand_seeds_are_planned_in_seconds_and_shown_as_a_range(tmp_path, monkeypatch):
    config = tmp_path / "cbp.json"
    config.write_text(json.dumps(TINY))
    began = time.process_time()
    output = lop("run", config, "--dry-run", "--no-estimate", "--seeds", "0-99999", "--runs-dir", tmp_path / "runs")
    assert time.process_time() - began < 6  # processor time of this process; 2.5 s on an idle machine
    assert "0-99999" in output
    assert len(output.splitlines()) < 12
    output = lop("run", config, "--dry-run", "--no-estimate", "--seeds", "0,3,5-9", "--runs-dir", tmp_path / "runs")
    assert "0,3,5-9" in output
    assert not (tmp_path / "runs").exists()
