"""The images of jobs on a real Slurm: copied to a node once, and missing ones reported before a worker starts."""

import json
import re
from pathlib import Path

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.importing import ImportOptions, import_images
from lop_engine.runs.directory import find_runs
from tests.cluster.jobs import slurm, state_of, submit, wait_for
from tests.cluster.test_slurm_launcher import here, lop, on_cluster, wait_for_runs  # noqa: F401
from tests.cluster.test_worker_under_slurm import documents
from tests.datasets.makers import make_images, make_source
from tests.helpers import TINY


def make_set(folder: Path) -> ClassFolder:
    import_images(make_source(folder, "npy", make_images()), folder / "set", ImportOptions(), lambda *progress: None)
    config = TINY | {"dataset": str(folder / "set"), "train_images": 8, "test_images": 1}
    (folder / "tiny.json").write_text(json.dumps(config))
    return ClassFolder.open(folder / "set")


def logs() -> str:
    return "".join(path.read_text() for path in sorted(Path("runs").glob(".slurm/*_log.out")))


def test_a_node_trains_on_its_single_copy_and_runs_without_images_fail_with_one_line(here, monkeypatch):  # noqa: F811
    images = make_set(here)
    monkeypatch.setenv("NODE_DISK", str(here / "disk"))  # sbatch passes its environment to the jobs
    (here / "lop.toml").write_text('[slurm]\nstage = "/nowhere"\n')
    output = on_cluster("run", "tiny.json", "--seeds", "2", "--stage", "$NODE_DISK").stdout
    assert "images staged on their nodes" in output
    wait_for_runs(lambda states: states == ["finished"] * 2)
    wait_for(lambda: not slurm("squeue", "-h", "-t", "pending,running,completing"))
    [copy] = [path for path in here.glob("disk/lop-*/*") if path.is_dir()]
    assert (copy.name, ClassFolder.open(copy).sha256) == (f"set-{images.sha256[:16]}", images.sha256)
    copies = re.findall(rf"images: copied \d+ KiB to {re.escape(str(copy))}", logs())
    assert (len(copies), logs().count(f"images: those in {copy}")) == (1, 1)
    assert all(run_dir.read_status().note is None for run_dir in find_runs(Path("runs")))
    lop("run", "tiny.json", "--seeds", "2", "--runs-dir", "here")
    for ours, theirs in zip(find_runs(Path("runs")), find_runs(Path("here")), strict=True):
        assert documents(ours) == documents(theirs), ours.name

    # Images that exist where the command is typed but not where the job starts.
    in_the_way = submit(["sleep", "300"], "--partition=high", "--cpus-per-task=4")
    wait_for(lambda: state_of(in_the_way) == "RUNNING")
    on_cluster("run", "tiny.json", "--seeds", "2", "--runs-dir", "missed")
    (here / "set").rename(here / "elsewhere")
    slurm("scancel", in_the_way)
    missed = list(find_runs(Path("missed")))
    wait_for(lambda: all(run_dir.read_status().state == "failed" for run_dir in missed))
    wait_for(lambda: not slurm("squeue", "-h", "-t", "pending,running,completing"))
    for run_dir in missed:
        assert run_dir.read_status().error.startswith(f"localhost: {here}/set: no images there; the images must lie")
        assert not run_dir.log.exists()
    assert "no images there" in lop("status", "--runs-dir", "missed").stdout
