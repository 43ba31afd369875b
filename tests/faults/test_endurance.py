"""Long tests: a reader beside a busy writer, and a worker's memory."""

import json
import subprocess
import sys
import time

import psutil
from tinydb import TinyDB

from lop_engine.launch import LocalLauncher, Resources, plan_runs, prepare_run_dirs
from lop_engine.runs.store import TableTail
from tests.faults.test_kill import finish, make_runs

WRITER = """
import sys, time
from pathlib import Path
from lop_engine.runs.records import epoch_document
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.store import TableWriter
deadline = time.monotonic() + float(sys.argv[2])
with TableWriter(Path(sys.argv[1]), "epochs") as writer:
    while time.monotonic() < deadline:
        for _ in range(20):
            writer.append(epoch_document(writer.num_documents, 0, dict.fromkeys(CONTINUAL_IMAGENET.metrics, 0.123456)))
        time.sleep(0.01)
"""


def test_readers_beside_a_busy_writer_never_fail(tmp_path, is_long):
    path = tmp_path / "epochs.json"
    seconds = 60 if is_long else 2
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(seconds)])
    tail, num_read, whole_reads, torn_reads = TableTail(path), 0, 0, 0
    try:
        while writer.poll() is None:
            for document in tail.read_new():
                assert document["task"] == num_read
                num_read += 1
            if path.exists():
                try:
                    with TinyDB(path, access_mode="r") as db:
                        whole_reads += len(db.table("epochs")) > 0
                except json.JSONDecodeError:  # stock TinyDB may fail in the middle of a write
                    torn_reads += 1
    finally:
        writer.kill()
        writer.wait()
    num_read += len(tail.read_new())
    assert writer.returncode == 0
    assert tail.restarts == 0
    assert whole_reads > 0
    with TinyDB(path, access_mode="r") as db:
        assert len(db.table("epochs")) == num_read
    print(f"{num_read} documents; stock TinyDB read {whole_reads} times, {torn_reads} of them torn")


def test_the_memory_of_a_worker_does_not_grow(tmp_path, is_long):
    num_tasks, most = (1000, 1.02) if is_long else (60, 1.05)
    [run_dir] = prepare_run_dirs(tmp_path, make_runs("cbp", [0], num_tasks=num_tasks, num_showings=2)).to_train
    launcher = LocalLauncher(plan_runs([run_dir], Resources(["cpu"], 1, 1)))
    launcher.poll()
    sizes: dict[int, int] = {}
    deadline = time.monotonic() + 300
    while launcher.active:
        launcher.poll()
        assert time.monotonic() < deadline
        status = run_dir.read_status()
        if status.state == "running" and status.pid and psutil.pid_exists(status.pid):
            done = run_dir.tasks_json.read_bytes().count(b"\n") if run_dir.tasks_json.exists() else 0
            try:
                sizes[done] = psutil.Process(status.pid).memory_info().rss
            except psutil.Error:
                break
        time.sleep(0.05)
    finish(launcher, 60)
    early = max(size for done, size in sizes.items() if num_tasks // 10 <= done <= num_tasks // 4)
    late = max(size for done, size in sizes.items() if done >= num_tasks // 2)
    print(f"{early / 2**20:.1f} MiB early, {late / 2**20:.1f} MiB late")
    assert late <= most * early
