"""Plans: which worker trains which runs on which device."""

import json
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from lop_engine.errors import LaunchError
from lop_engine.experiment.run import load_runs, shipped
from lop_engine.experiment.spec import Spec
from lop_engine.launch import Resources, decide_resources, describe_workers, local, plan, plan_runs
from lop_engine.launch import stack_sizes as memory
from lop_engine.launch.prepare import prepare_run_dirs
from lop_engine.launch.stack_sizes import best_size, keep, runs_that_pay
from lop_engine.launch.stack_sizes import describe as described
from lop_engine.machine import devices, doctor
from lop_engine.machine.devices import Gpus, find_gpus
from lop_engine.runs.directory import RunDir
from tests.helpers import make_run

GIB = 2**30


def specs(num_runs: int, **changes) -> list[Spec]:
    paper = {"agent": "bp", "step_size": 0.01, "num_tasks": 5000, "num_showings": 250}
    return [Spec(**{**paper, "train_images": 600, "test_images": 100, **changes})] * num_runs


@pytest.fixture
def machine(monkeypatch):
    """Make a machine of four cores; return a function that gives it GPUs with the given free bytes."""
    monkeypatch.setattr(plan, "num_cores", lambda: 4)

    def give(*free: int, problem: str = "") -> None:
        gpus = Gpus({f"cuda:{number}": size for number, size in enumerate(free)}, problem)
        monkeypatch.setattr(plan, "find_gpus", lambda: gpus)

    give()
    return give


@pytest.mark.parametrize(
    ("num_runs", "workers", "runs_per_worker", "expected"),
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
def test_a_cpu_has_a_worker_for_each_core_and_no_more_threads_than_cores(
    machine, num_runs, workers, runs_per_worker, expected
):
    resources = decide_resources(specs(num_runs), "auto", workers, runs_per_worker)
    assert (resources.workers, resources.threads, resources.runs_per_worker) == expected
    assert set(resources.devices) == {"cpu"}


def test_a_gpu_takes_the_largest_stack_that_fits(machine):
    machine(6 * GIB)
    resources = decide_resources(specs(30), "auto", None, None)
    assert resources.devices == ["cuda:0"]
    assert 1 < resources.runs_per_worker < 30
    wider = decide_resources(specs(30, width=2.0), "auto", None, None)
    fewer_images = decide_resources(specs(30, train_images=50), "auto", None, None)
    assert wider.runs_per_worker < resources.runs_per_worker < fewer_images.runs_per_worker
    machine(80 * GIB, 40 * GIB)
    resources = decide_resources(specs(30), "auto", None, None)
    assert resources.devices == ["cuda:0", "cuda:1"]
    assert resources.runs_per_worker == 15
    assert decide_resources(specs(30), "cuda:0", None, None).runs_per_worker == 30
    machine(8 * GIB)
    alone = decide_resources(specs(60), "auto", None, None).runs_per_worker
    assert 1 <= decide_resources(specs(60), "auto", 2, None).runs_per_worker < alone / 2
    machine(GIB // 2)
    assert decide_resources(specs(30), "auto", None, None).runs_per_worker == 1


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


def several(num_settings: int, seeds_each: int) -> list[Spec]:
    """Return specs of settings that cannot share a stack."""
    return [spec for index in range(num_settings) for spec in specs(seeds_each, mini_batch_size=90 + index)]


@pytest.mark.parametrize(
    ("gpus_gib", "settings", "seeds", "cores", "expected"),
    [
        ((80,), 4, 30, 16, (["cuda:0"] * 4, 30, 2)),  # all settings advance, each in one stack
        ((80,), 1, 30, 16, (["cuda:0"], 30, 2)),
        ((80,), 4, 3, 16, (["cuda:0"] * 4, 3, 2)),
        ((80,), 20, 30, 64, (["cuda:0"] * 8, 30, 2)),  # more than eight settings take turns
        ((80,), 4, 30, 2, (["cuda:0"] * 2, 30, 1)),  # a worker needs a core
        ((80, 80), 4, 30, 16, (["cuda:0", "cuda:1"] * 2, 30, 2)),
        ((80, 80), 3, 30, 16, (["cuda:0", "cuda:1"] * 3, 15, 2)),  # stacks of 30 would load one GPU twice as much
        ((80,) * 4, 2, 30, 16, ([f"cuda:{n}" for n in range(4)], 15, 2)),
        ((80,) * 4, 3, 12, 16, ([f"cuda:{n}" for n in range(4)] + ["cuda:0", "cuda:1"], 6, 2)),
    ],
)
def test_settings_share_gpus_so_that_all_advance(machine, monkeypatch, gpus_gib, settings, seeds, cores, expected):
    monkeypatch.setattr(plan, "num_cores", lambda: cores)
    machine(*(size * GIB for size in gpus_gib))
    resources = decide_resources(several(settings, seeds), "auto", None, None)
    assert (resources.devices, resources.runs_per_worker, resources.threads) == expected


@pytest.mark.parametrize("gib", [2, 5, 8, 12, 16, 24, 40])
@pytest.mark.parametrize("typed", [(None, None), (3, None), (None, 5), (2, 7)])
def test_workers_that_share_a_gpu_fit_into_its_memory(machine, gib, typed):
    machine(gib * GIB)
    runs = several(4, 30)
    workers, runs_per_worker = typed
    resources = decide_resources(runs, "auto", workers, runs_per_worker)
    assert resources.workers == (workers or resources.workers)
    assert resources.runs_per_worker == (runs_per_worker or resources.runs_per_worker)
    taken = resources.workers * (
        memory.WORKER_BYTES_ON_GPU + resources.runs_per_worker * memory.run_bytes_on_gpu(runs[0])
    )
    was_typed = workers is not None
    assert taken <= gib * GIB or was_typed or (resources.workers == 1 and resources.runs_per_worker in (1, 5))


def test_a_small_gpu_has_fewer_workers_instead_of_small_stacks(machine):
    machine(16 * GIB)
    resources = decide_resources(several(4, 30), "auto", None, None)
    assert (resources.workers, resources.runs_per_worker >= plan.EFFICIENT_STACK) == (3, True)


def test_every_setting_is_in_the_first_stacks_of_a_shared_gpu(machine, tmp_path):
    machine(80 * GIB)
    dirs = [RunDir(tmp_path / name / "default" / f"seed_{seed:03d}") for name in "abcd" for seed in range(30)]
    made = plan_runs(dirs, decide_resources(several(4, 30), "auto", None, None))
    assert [stack[0].experiment for stack in made.stacks[: made.resources.workers]] == list("abcd")
    assert describe_workers(made.resources) == "4 workers (4 sharing cuda:0, 1 thread each)"


def test_a_gpu_that_torch_cannot_use_is_named_with_the_reason(machine):
    machine(problem="torch 2.13.0+cpu is a CPU build")
    resources = decide_resources(specs(1), "auto", None, None)
    assert set(resources.devices) == {"cpu"}
    assert "torch 2.13.0+cpu is a CPU build" in resources.note
    assert not decide_resources(specs(1), "cpu", None, None).note
    assert not decide_resources(specs(1, use_gpu=False), "auto", None, None).note
    for device in ("cuda", "cuda:0"):
        with pytest.raises(LaunchError, match=r"--device cuda.*torch 2\.13\.0\+cpu is a CPU build"):
            decide_resources(specs(1), device, None, None)
    machine(8 * GIB, problem="cuda:1: out of order")
    resources = decide_resources(specs(1), "auto", None, None)
    assert (resources.devices, "cuda:1: out of order" in resources.note) == (["cuda:0"], True)
    with pytest.raises(LaunchError, match="cuda:1: out of order"):
        decide_resources(specs(1), "cuda:1", None, None)
    assert not decide_resources(specs(1), "cuda:0", None, None).note


TORCH = """
import os, types, warnings
__version__ = "2.11"
version = types.SimpleNamespace(cuda={cuda!r}, hip=None)
class _Cuda:
    def is_available(self):
        if {warning!r}:
            warnings.warn("CUDA initialization: " + {warning!r} + " (Triggered internally at CUDAFunctions.cpp:119.)")
        return {count} > 0
    def device_count(self):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return 1 if visible.startswith("MIG-") else {count}
    def mem_get_info(self, number):
        return (1000 + number + 10 * len(os.environ.get("CUDA_VISIBLE_DEVICES", "")), 5000)
    def get_device_capability(self, number):
        return (5, 0)
cuda = _Cuda()
class _Tensor:
    def add_(self, other): return self
    def sum(self): return self
    def item(self): return 4
def ones(size, device):
    if device in {broken!r}:
        raise RuntimeError({broken!r}[device])
    return _Tensor()
"""


@pytest.fixture
def find_gpus_with(monkeypatch, tmp_path):
    """Return a function that replaces torch by one that finds the given GPUs, and returns the result of `find_gpus`."""
    monkeypatch.setattr(devices, "has_driver", lambda: True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def find(count=0, cuda="12.8", warning="", broken=None, code=None) -> Gpus:
        text = code or TORCH.format(count=count, cuda=cuda, warning=warning, broken=broken or {})
        (tmp_path / "torch.py").write_text(text)
        find_gpus.cache_clear()
        return find_gpus()

    yield find
    find_gpus.cache_clear()


def test_the_reason_why_torch_cannot_use_a_gpu_is_returned(find_gpus_with, monkeypatch):
    assert find_gpus_with(count=2) == Gpus({"cuda:0": 1000, "cuda:1": 1001})
    assert "torch 2.11 is a CPU build" in find_gpus_with(cuda=None).problem
    old = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver."
    assert find_gpus_with(warning=old).problem == "The NVIDIA driver on your system is too old (found version 11040)"
    no_kernel = {"cuda:0": "CUDA error: no kernel image is available for execution on the device\nCompile with"}
    half = find_gpus_with(count=2, broken=no_kernel)
    assert list(half.free_bytes) == ["cuda:1"]
    assert half.problem == "cuda:0: torch 2.11 has no kernels for its compute capability 5.0"
    busy = find_gpus_with(count=1, broken={"cuda:0": "CUDA error: all CUDA-capable devices are busy\nmore"})
    assert busy == Gpus({}, "cuda:0: CUDA error: all CUDA-capable devices are busy")
    assert "libcudart" in find_gpus_with(code="raise ImportError('libcudart.so.12: cannot open')").problem
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert find_gpus_with().problem == f"CUDA_VISIBLE_DEVICES={hidden!r} names no GPU"


def test_doctor_names_the_reason_why_a_gpu_cannot_be_used(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "look_at_installation", lambda: [])
    monkeypatch.setattr(doctor, "find_gpus", lambda: Gpus({"cuda:1": 8 * GIB}, "cuda:0: too old"))
    findings = [(one.level, one.what) for one in doctor.examine_machine(tmp_path) if one.subject == "devices"]
    assert findings[0][1].endswith("cuda:1 with 8.0 GiB free")
    assert findings[1] == ("note", "torch cannot use a GPU that is present: cuda:0: too old")


def test_torch_is_not_imported_without_a_driver(find_gpus_with, monkeypatch):
    monkeypatch.setattr(devices, "has_driver", lambda: False)
    assert find_gpus_with(count=1) == Gpus()


def test_each_worker_gets_its_own_mig_slice(find_gpus_with, monkeypatch):
    """CUDA gives a process only one slice, even if CUDA_VISIBLE_DEVICES names several."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a, MIG-bcd")
    assert find_gpus_with(count=9) == Gpus({"cuda:0": 1050, "cuda:1": 1070})
    assert devices.place("cuda:1") == ("cuda:0", {"CUDA_VISIBLE_DEVICES": "MIG-bcd"})
    assert devices.place("cuda:2") == ("cuda:2", {})
    assert devices.place("cpu") == ("cpu", {})
    for whole in ("MIG-a", "GPU-a,GPU-b", "0,1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", whole)
        assert devices.place("cuda:1") == ("cuda:1", {})


def test_a_worker_is_started_on_its_mig_slice(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    started = []
    monkeypatch.setattr(local.subprocess, "Popen", lambda command, env, **_: started.append((command, env)))
    run_dir = RunDir(tmp_path)
    local.start_worker([run_dir], "cuda:1", 1, [])
    [(command, env)] = started
    assert command[command.index("--device") + 1] == "cuda:0"
    assert env["CUDA_VISIBLE_DEVICES"] == "MIG-b"


def test_settings_take_turns_and_stacks_never_mix_them(tmp_path):
    dirs = [RunDir(tmp_path / name / "default" / f"seed_{seed:03d}") for name in ("bp", "cbp") for seed in range(3)]
    stacks = plan_runs(dirs, Resources(["cpu"], 1, 2)).stacks
    assert [[run.name for run in stack] for stack in stacks] == [
        ["bp/default/seed_000", "bp/default/seed_001"],
        ["cbp/default/seed_000", "cbp/default/seed_001"],
        ["bp/default/seed_002"],
        ["cbp/default/seed_002"],
    ]


def sweep(dirs_in: Path, method: str = "bp", steps: int = 3, seeds: int = 4, **changes) -> dict[RunDir, Spec]:
    """Return the runs of an experiment over step sizes, on a small network."""
    small = {"agent": method, "network": "mlp", "num_hidden_layers": 1, "num_features": 2, "mini_batch_size": 1}
    return {
        RunDir(dirs_in / "sweep" / f"{method} {step}" / f"seed_{seed:03d}"): specs(
            1, **small | {"step_size": 0.001 * (step + 1)} | changes
        )[0]
        for step in range(steps)
        for seed in range(seeds)
    }


def cut_of(runs: dict[RunDir, Spec], *options) -> list[list[str]]:
    resources = decide_resources(list(runs.values()), "cpu", *(options or (None, None)))
    return [[f"{one.setting}/{one.seed}" for one in stack] for stack in plan_runs(list(runs), resources, runs).stacks]


def test_a_sweep_of_a_small_network_has_one_stack_for_each_core(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "num_cores", lambda: 2)
    monkeypatch.setattr(plan, "runs_that_pay", lambda spec: 500)
    stacks = cut_of(sweep(tmp_path))
    assert [len(stack) for stack in stacks] == [6, 6]
    assert stacks[0] == [f"bp 0/{seed}" for seed in range(4)] + ["bp 1/0", "bp 1/1"]
    monkeypatch.setattr(plan, "num_cores", lambda: 1)
    assert [len(stack) for stack in cut_of(sweep(tmp_path))] == [12]


def test_the_size_of_a_stack_is_limited_by_memory(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "num_cores", lambda: 1)
    monkeypatch.setattr(plan, "runs_that_pay", lambda spec: 500)
    [spec] = dict.fromkeys(sweep(tmp_path, steps=1).values())
    free = 2 * (memory.WORKER_BYTES + 4 * memory.run_bytes(spec))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    assert [len(stack) for stack in cut_of(sweep(tmp_path))] == [4, 4, 4]


def test_settings_of_a_large_network_do_not_share_stacks(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "num_cores", lambda: 2)
    monkeypatch.setattr(plan, "runs_that_pay", lambda spec: 1)
    stacks = cut_of(sweep(tmp_path, seeds=2))
    assert stacks == [[f"bp {step}/{seed}"] for seed in range(2) for step in range(3)]
    assert cut_of(sweep(tmp_path, seeds=1, steps=4)) == [["bp 0/0", "bp 1/0"], ["bp 2/0", "bp 3/0"]]


def test_methods_take_turns_and_never_share_a_stack(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "num_cores", lambda: 2)
    monkeypatch.setattr(plan, "runs_that_pay", lambda spec: 500)
    stacks = cut_of(sweep(tmp_path) | sweep(tmp_path, "cbp"))
    assert [{name.split()[0] for name in stack} for stack in stacks] == [{"bp"}, {"cbp"}]
    assert [len(stack) for stack in stacks] == [12, 12]
    assert [len(stack) for stack in cut_of(sweep(tmp_path) | sweep(tmp_path, "cbp"), None, 5)] == [5, 5, 5, 5, 2, 2]


def test_the_measured_size_is_used_for_a_stack(tmp_path):
    [spec] = specs(1, network="linear")
    assert best_size({1: 1.0, 10: 1.2, 100: 3.0, 1000: 28.0}) == 100
    assert best_size({1: 1.0, 2: 2.0, 4: 4.1}) == 1
    before = runs_that_pay(spec, tmp_path)
    keep(spec, before + 41, tmp_path)
    assert runs_that_pay(spec, tmp_path) == before + 41
    assert runs_that_pay(spec.with_changes(mini_batch_size=3), tmp_path) != before + 41
    (tmp_path / "stack_sizes.json").write_text("[1, {")
    assert runs_that_pay(spec, tmp_path) == before


def test_shipped_stack_sizes_belong_to_shipped_experiments():
    """Sizes are looked up by a description of the network, which a new key of the network may change."""
    shipped = {described(run.spec) for name in ("bp", "linear", "demo/bp") for run in load_runs(Path(name))}
    assert shipped == json.loads((Path(plan.__file__).with_name("stack_sizes.json")).read_text()).keys()
    assert runs_that_pay(load_runs(Path("demo/bp"))[0].spec) == 4


def test_the_stack_size_of_an_unmeasured_network_follows_from_its_weights():
    def pays(**changes) -> int:
        values = {"agent": "bp", "network": "mlp", "num_hidden_layers": 1, "mini_batch_size": 7} | changes
        return runs_that_pay(specs(1, **values)[0])

    assert pays(num_features=1) > pays(num_features=4) > pays(num_features=500) == 1
    assert pays(num_features=1, mini_batch_size=1) > pays(num_features=1)
    assert runs_that_pay(specs(1, width=0.125)[0]) == 1


def test_a_file_of_the_same_name_for_another_problem_is_refused_by_its_problem(tmp_path):
    make_run(tmp_path, "bp", state="finished")
    with pytest.raises(LaunchError) as refused:
        prepare_run_dirs(tmp_path, load_runs(shipped()["scr/demo/bp"], [0]))
    assert "(problem 'continual_imagenet' -> 'slowly_changing_regression'); rename the file" in str(refused.value)
