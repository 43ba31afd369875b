"""Runs started by a version without components, whose run.json contains every key of that time.

tests/old_runs/runs has two such runs that were stopped, tests/old_runs/whole the records of that version without a
stop.
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from lop_engine import NUMERICS, __version__
from lop_engine.analysis import group_runs
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.errors import StoreError
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.stored import canonical
from lop_engine.runs.directory import SCHEMA, RunDir
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import read_table
from lop_engine.worker.checkpoint import FORMAT
from tests.cli.test_run import lop
from tests.helpers import ROOT

OLD = ROOT / "tests/old_runs"

#: Keys of an old run.json that have a default value.
DEFAULTS = {
    "opt": "sgd", "momentum": 0.0, "weight_decay": 0.0, "perturb_scale": 0.0, "replacement_rate": 1e-4,
    "decay_rate": 0.99, "util_type": "contribution", "maturity_threshold": 100, "net_type": 1, "num_classes": 2,
    "mini_batch_size": 100, "new_heads": True, "num_runs": 1, "use_gpu": True, "run_idx": 0, "index": 0,
    "data_dir": "", "data_file": "", "model_version": "", "checkpoint_every_s": 60.0, "dataset": "imagenet32",
    "dataset_classes": 1000, "dataset_seed": 0, "dataset_sha256": "", "class_order": "", "class_order_sha256": "",
    "train_images": 0, "test_images": 0, "normalisation": "auto", "width": 1.0, "precision": "fp32",
    "metrics": ["train_accuracy", "test_accuracy", "curvature", "weight_magnitude", "dormant_proportion",
                "effective_rank", "stable_rank"],
    "metrics_every": 1, "curvature_every": 1, "curvature_images": 0, "budget_accrual": None,
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD / "runs", tmp_path / "runs")
    shutil.copytree(OLD / "cfg", tmp_path / "cfg")
    return tmp_path


@pytest.mark.parametrize(
    "typed",
    [
        {"agent": "bp"},
        {"agent": "bp", "opt": "adam", "weight_decay": 1e-3},
        {"agent": "l2", "weight_decay": 1e-3},
        {"agent": "bp", "weight_decay": 1e-3, "perturb_scale": 1e-4},
        {"agent": "snp", "weight_decay": 1e-3, "perturb_scale": 1e-4},
        {"agent": "cbp", "util_type": "adaptable_contribution", "momentum": 0.9},
        {"agent": "cbp", "net_type": 2, "replacement_rate": 1e-3},
        {"agent": "cbp2", "replacement_rate": 1e-3},
        {"agent": "linear", "opt": "adamW"},
    ],
    ids=str,
)
def test_the_configuration_of_an_old_run_equals_that_of_a_new_one(typed):
    typed = {"step_size": 0.01, "num_tasks": 10, "num_showings": 2} | typed
    new = Spec(**typed)
    assert Spec(**DEFAULTS | typed) == new
    assert canonical(DEFAULTS | typed) == canonical(new.to_dict()) == new.to_dict()


@pytest.mark.long
def test_every_view_shows_old_runs(here):
    for command in (
        ["list"],
        ["status"],
        ["show", "cbp"],
        ["compare", "cbp", "cbp2"],
        ["plot", "-o", "figure.png"],
        ["export", "--format", "csv", "-o", "tables"],
        ["report", "-o", "report.html"],
        ["watch", "--once"],
    ):
        done = lop(*command)
        assert done.returncode == 0, done.stderr
        assert "cannot be read" not in done.stdout + done.stderr
    assert "run.json" not in lop("doctor").stdout


@pytest.mark.timeout(300)
@pytest.mark.long
def test_old_runs_resume_to_the_records_of_the_old_version_and_are_averaged_with_new_ones(here):
    done = lop("run", "cfg/cbp.json", "cfg/cbp2.json", "--device", "cpu", "--runs-per-worker", "1", timeout_s=240)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 runs resume where they stopped" in done.stdout
    for name in ("cbp", "cbp2"):
        run_dir = RunDir(here / "runs" / name / "default" / "seed_000")
        for table in ("tasks.json", "epochs.json"):
            ours, theirs = (read_table(folder / table) for folder in (run_dir.path, OLD / "whole" / name))
            assert len(ours) == len(theirs)
            for one, other in zip(ours, theirs, strict=True):
                assert one.keys() == other.keys()
                differing = [key for key in one if key != "seconds" and one[key] != other[key]]
                # Records are equal on the machine that made them; other machines may round differently.
                assert [one[key] for key in differing] == pytest.approx([other[key] for key in differing], rel=1e-3)
    groups = group_runs(RunsReader(here / "runs").read().runs)
    refuse_mixed(groups)
    assert [(group.experiment, len(group.runs)) for group in groups] == [("cbp", 2), ("cbp2", 2)]
    again = lop("run", "cfg/cbp.json", "cfg/cbp2.json")
    assert "4 of 4 runs are finished already" in again.stdout, again.stderr


@pytest.mark.parametrize("name", ["lop_engine.worker", "lop_engine.training.worker"])
@pytest.mark.long
def test_a_launcher_of_an_older_version_can_start_workers(here, name):
    run_dir = RunDir(here / "runs/cbp2/default/seed_000")
    run_dir.write_status(replace(run_dir.read_status(), state="queued"))
    command = [sys.executable, "-m", name, "--device", "cpu", "--threads", "1", str(run_dir.path)]
    subprocess.run(command, check=True, timeout=120)
    assert run_dir.read_status().state == "finished"
    assert json.loads(run_dir.run_json.read_text())["spec"]["net_type"] == 1  # it must not be rewritten


def contents(folder):
    """Return the contents of every file below a directory, by name."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def newer(here):
    """Return the old run of cbp as a newer version might leave it: with another schema, layout and state."""
    run_dir = RunDir(here / "runs/cbp/default/seed_000")
    config = json.loads(run_dir.run_json.read_text())
    config |= {"schema": SCHEMA + 1, "versions": {"lop": "9.1.0"}}
    run_dir.run_json.write_text(json.dumps(config))
    run_dir.tasks_json.write_text('{"tasks": {"1": {"task": "first", "metrics": {"test_accuracy": 0.5}}')
    return run_dir


NEWER = f"written by lop 9.1.0 (schema {SCHEMA + 1}); lop {__version__} reads schema {SCHEMA} at most; update lop"


@pytest.mark.parametrize(
    "command",
    [
        ["run", "cfg/cbp.json", "--seeds", "1", "--device", "cpu"],
        ["run", "cfg/cbp.json", "--seeds", "3,4", "--device", "cpu"],
        ["resume", "cbp/default/0", "--device", "cpu"],
        ["resume", "cbp/default/0", "--accept-code-change"],
        ["merge", "runs", "--to", "both"],
    ],
    ids=" ".join,
)
@pytest.mark.long
def test_a_run_of_a_newer_version_is_refused_and_not_changed(newer, command):
    before = contents(newer.path)
    done = lop(*command)
    assert done.returncode == 2, done.stdout
    assert NEWER in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr
    assert contents(newer.path) == before


@pytest.mark.parametrize(
    "command",
    [["list"], ["status"], ["show", "cbp/default/0"], ["watch", "--once"], ["doctor"], ["doctor", "--repair"]],
    ids=" ".join,
)
@pytest.mark.long
def test_views_say_why_a_run_of_a_newer_version_is_not_shown(newer, command):
    before = contents(newer.path)
    done = lop(*command)
    assert "9.1.0" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert contents(newer.path) == before


def test_a_checkpoint_of_a_newer_version_is_refused_without_falling_back_to_the_previous_one(here):
    run_dir = RunDir(here / "runs/cbp/default/seed_000")
    content = torch.load(run_dir.checkpoint, weights_only=True)
    torch.save(content, run_dir.previous_checkpoint)
    torch.save(content | {"format": FORMAT + 1}, run_dir.checkpoint)
    files = [run_dir.checkpoint, run_dir.previous_checkpoint, *run_dir.records]
    before = [path.read_bytes() for path in files]
    done = lop("resume", "cbp", "--device", "cpu", "--retries", "0")
    assert done.returncode == 1
    assert run_dir.read_status().state == "failed"
    assert f"(checkpoint format {FORMAT + 1}); lop {__version__} reads" in run_dir.read_status().error
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize("schema", ["2", 1.5, None, 0])
def test_an_invalid_schema_version_is_refused(here, schema):
    run_dir = RunDir(here / "runs/cbp/default/seed_000")
    run_dir.run_json.write_text(json.dumps(json.loads(run_dir.run_json.read_text()) | {"schema": schema}))
    with pytest.raises(StoreError, match=r"run.json: schema is not a version \(.*\); restore run.json from a backup"):
        run_dir.read_config()


def test_files_md_names_the_current_schema_versions():
    page = (ROOT / "docs/files.md").read_text()
    versions = dict(re.findall(r"^\|[^|]+\| `([a-z.]+)`[^|]*\| (\d+) \|$", page, re.MULTILINE))
    assert versions == {"schema": str(SCHEMA), "format": str(FORMAT), "code.numerics": str(NUMERICS)}
