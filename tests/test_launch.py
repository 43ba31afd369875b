"""Who trains what where."""

import pytest

from lop_engine.errors import LaunchError
from lop_engine.launch import Resources, decide_resources, plan, plan_runs
from lop_engine.rundir import RunDir
from lop_engine.spec import Spec

GIB = 2**30


def specs(num_runs: int, **changes) -> list[Spec]:
    paper = {"agent": "bp", "step_size": 0.01, "num_tasks": 5000, "num_showings": 250}
    return [Spec(**{**paper, "train_images": 600, "test_images": 100, **changes})] * num_runs


@pytest.fixture
def machine(monkeypatch):
    """A machine of four cores; returns a function that gives it GPUs with so many free bytes."""
    monkeypatch.setattr(plan, "num_cores", lambda: 4)

    def give(*free: int) -> None:
        monkeypatch.setattr(plan, "gpu_memory_bytes", lambda: list(free))

    give()
    return give


@pytest.mark.parametrize(
    ("num_runs", "workers", "seeds_per_worker", "expected"),
    [
        (1, None, None, (1, 4, 1)),
        (2, None, None, (2, 2, 1)),
        (4, None, None, (4, 1, 1)),
        (6, None, None, (3, 1, 2)),  # all start at once in stacks of two
        (8, None, None, (4, 1, 2)),
        (30, None, None, (4, 1, 1)),
        (30, 2, None, (2, 2, 1)),
        (30, None, 5, (4, 1, 5)),
        (30, 9, None, (9, 1, 1)),
    ],
)
def test_a_cpu_has_a_worker_a_core_and_no_more_threads_than_cores(
    machine, num_runs, workers, seeds_per_worker, expected
):
    resources = decide_resources(specs(num_runs), "auto", workers, seeds_per_worker)
    assert (resources.workers, resources.threads, resources.seeds_per_worker) == expected
    assert set(resources.devices) == {"cpu"}


def test_a_gpu_takes_the_largest_stack_that_fits(machine):
    machine(6 * GIB)
    resources = decide_resources(specs(30), "auto", None, None)
    assert resources.devices == ["cuda:0"]
    assert 1 < resources.seeds_per_worker < 30
    wider = decide_resources(specs(30, width=2.0), "auto", None, None)
    fewer_images = decide_resources(specs(30, train_images=50), "auto", None, None)
    assert wider.seeds_per_worker < resources.seeds_per_worker < fewer_images.seeds_per_worker
    machine(80 * GIB, 40 * GIB)
    resources = decide_resources(specs(30), "auto", None, None)
    assert resources.devices == ["cuda:0", "cuda:1"]
    assert resources.seeds_per_worker == 15
    assert decide_resources(specs(30), "cuda:0", None, None).seeds_per_worker == 30
    machine(8 * GIB)
    alone = decide_resources(specs(60), "auto", None, None).seeds_per_worker
    assert 1 <= decide_resources(specs(60), "auto", 2, None).seeds_per_worker < alone / 2
    machine(GIB // 2)
    assert decide_resources(specs(30), "auto", None, None).seeds_per_worker == 1


def test_the_device_can_be_chosen(machine):
    machine(GIB, GIB)
    assert decide_resources(specs(4), "cuda:1", None, None).devices == ["cuda:1"]
    assert decide_resources(specs(4), "cuda", None, None).devices == ["cuda:0", "cuda:1"]
    assert set(decide_resources(specs(4), "cpu", None, None).devices) == {"cpu"}
    assert set(decide_resources(specs(4, use_gpu=False), "auto", None, None).devices) == {"cpu"}


@pytest.mark.parametrize("device", ["cuda:2", "cuda:-1", "cuda:", "gpu", ""])
def test_a_device_that_does_not_exist_is_refused(machine, device):
    machine(GIB)
    with pytest.raises(LaunchError, match="--device"):
        decide_resources(specs(1), device, None, None)


def test_settings_take_turns_and_stacks_never_mix_them(tmp_path):
    dirs = [RunDir(tmp_path / name / "default" / f"seed_{seed:03d}") for name in ("bp", "cbp") for seed in range(3)]
    stacks = plan_runs(dirs, Resources(["cpu"], 1, 2)).stacks
    assert [[run.name for run in stack] for stack in stacks] == [
        ["bp/default/seed_000", "bp/default/seed_001"],
        ["cbp/default/seed_000", "cbp/default/seed_001"],
        ["bp/default/seed_002"],
        ["cbp/default/seed_002"],
    ]
