"""Compare the memory estimate of `lop run --dry-run` with workers that train."""

import time
from contextlib import suppress

import psutil
import pytest

from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import LocalLauncher, Plan, Resources, prepare_run_dirs
from lop_engine.launch.stack_sizes import WORKER_BYTES, largest_worker, worker_bytes
from tests.helpers import tiny

MLP = tiny(agent="bp", network="mlp", num_features=100, train_images=200, test_images=100, mini_batch_size=20)
MLP |= {"metrics": ["test_accuracy", "train_accuracy", "weight_magnitude"]}
CONV = tiny(width=0.5, train_images=100, mini_batch_size=20)
SHORT = {"num_tasks": 2, "num_showings": 1}


@pytest.mark.parametrize(("values", "num_runs"), [(MLP, 16), (CONV, 24)], ids=["mlp", "conv"])
@pytest.mark.long
def test_the_memory_of_a_worker_is_within_30_percent_of_the_estimate(tmp_path, values, num_runs):
    spec = Spec(**(values | SHORT))
    run_dirs = prepare_run_dirs(tmp_path, [Run("x", "default", seed, spec) for seed in range(num_runs)]).to_train
    plan = Plan([run_dirs], Resources(["cpu"], 1, num_runs))
    launcher, most = LocalLauncher(plan), 0
    while launcher.active:
        launcher.poll()
        for child in psutil.Process().children():
            with suppress(psutil.Error):  # the worker has just ended
                most = max(most, child.memory_info().rss)
        time.sleep(0.01)
    assert {run_dir.read_status().state for run_dir in run_dirs} == {"finished"}
    planned = largest_worker(plan.stacks, "cpu", dict.fromkeys(run_dirs, spec))
    assert planned is not None
    assert planned[1] == num_runs
    assert 0.7 < planned[0] / most < 1.3, f"estimated {planned[0] / 2**20:.0f} MiB, used {most / 2**20:.0f}"


def test_the_memory_of_runs_of_several_settings_adds_up():
    one, other = Spec(**(MLP | SHORT)), Spec(**(MLP | SHORT | {"num_features": 200}))
    of_one, of_other = (worker_bytes([spec], "cpu") - WORKER_BYTES for spec in (one, other))
    assert of_other > of_one > 0
    assert worker_bytes([one, other, one], "cpu") == WORKER_BYTES + 2 * of_one + of_other
