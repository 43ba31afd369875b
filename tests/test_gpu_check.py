"""`make gpu-check`: it finds what is wrong with a GPU, and loses only what a time limit or a crash takes."""

import contextlib
import importlib
import json
import math
import subprocess
import sys
import warnings
import zipfile

import pytest
import torch

from bench.gpu import __main__ as command
from bench.gpu import child, convolutions, engine, load, profiling, runs, wheels
from bench.gpu.engine import Setup
from bench.gpu.results import Report, Results
from bench.gpu.runner import run_group
from bench.gpu.stages import GROUP_OF, STAGES, Stage, choose
from bench.gpu.summary import convolution_table, figure_hours, markdown
from bench.gpu.ways import LAYERS, WAYS, Grouped, Separate, Variant, error_of
from lop_engine.learners import StepResult

SMALL = Setup(torch.device("cpu"), small=True)


@pytest.fixture
def one_case(monkeypatch):
    """One method in one precision stands for all."""
    monkeypatch.setattr(engine, "setting_names", lambda: ["cbp"])
    monkeypatch.setattr(engine, "PRECISIONS", ("fp32",))


def run_here(*names: str) -> Results:
    """Run stages in this process."""
    results = Results()
    child.run_stages(choose(names), SMALL, results.take)
    return results


def verdicts(results: Results) -> set[str]:
    return {line.verdict for line in results.lines}


def idle(learner):
    """An empty graph: it trains nothing."""
    zeros_S = torch.zeros(len(learner.seeds))
    return lambda images, labels: StepResult(zeros_S, zeros_S)


def stale(learner):
    """A graph that reads the first batch again and again."""
    kept: list = []

    def step(*batch):
        kept[:] = kept or batch
        return learner.step(*kept)

    return step


def mixing(learner):
    """A step after which every seed has moved towards its neighbours."""

    def step(*batch):
        result = learner.step(*batch)
        with torch.no_grad():
            for weight in learner.params.values():
                weight.lerp_(weight.mean(0, keepdim=True), 0.1)
        return result

    return step


def warning(learner):
    """A step that is trained kernel by kernel because it cannot be captured."""

    def step(*batch):
        warnings.warn("training without CUDA graphs", stacklevel=2)
        return learner.step(*batch)

    return step


def raising(learner):
    """A step that fails."""

    def step(*batch):
        raise RuntimeError("out of memory")

    return step


@pytest.mark.parametrize(
    ("fake", "stage"),
    [
        (idle, "graphs"),
        (stale, "graphs"),
        (warning, "graphs"),
        (raising, "graphs"),
        (mixing, "stack"),
        (mixing, "diverged"),
        (idle, "diverged"),
    ],
)
def test_a_broken_step_fails_and_the_exit_status_is_1(fake, stage, one_case, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(engine, "fast_step", lambda learner, device: fake(learner))

    def run_group_here(stages, command, environment, results, limit_s, log_path, say):
        child.run_stages(stages, SMALL, results.take)

    monkeypatch.setattr(command, "run_group", run_group_here)
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", stage, "-o", str(tmp_path)])
    assert command.main() == 1
    assert "FAIL" in capsys.readouterr().out
    assert "| FAIL |" in (tmp_path / "summary.md").read_text()


def test_what_agrees_on_a_cpu_needs_a_gpu_and_does_not_pass(one_case):
    results = run_here("graphs")
    assert [line.check for line in results.lines] == ["cbp, fp32"]
    assert verdicts(results) == {"needs a GPU"}
    assert not results.failed


def test_on_a_gpu_the_same_agreement_passes():
    results = Results()
    Report("graphs", True, results.take).check("cbp, fp32", True, "0", "<= 0.01")
    assert verdicts(results) == {"PASS"}


def test_the_small_form_runs_on_a_cpu_and_leaves_its_results(tmp_path):
    typed = ["--device", "cpu", "--small", "--only", "stack", "--only", "diverged", "--only", "waiting"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu", *typed, "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=wheels.ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "correctness.json").read_text())
    assert set(content["seconds"]) == {"stack", "diverged", "waiting"}
    assert {line["verdict"] for line in content["lines"]} == {"needs a GPU"}
    assert len(list(tmp_path.iterdir())) <= 8
    rows = [line for line in done.stdout.splitlines() if line.startswith("needs a GPU")]
    assert len(rows) == len(content["lines"]) >= 7
    summary = (tmp_path / "summary.md").read_text()
    assert torch.__version__ in summary.splitlines()[0]
    assert "--device cpu --small" in summary.splitlines()[0]


def test_a_device_that_is_not_there_is_refused_with_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cuda:97", "--only", "golden", "-o", str(tmp_path)])
    assert command.main() == 2
    assert "cuda:97" in capsys.readouterr().err


def test_an_unknown_stage_is_refused_before_anything_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", "grahps"])
    assert command.main() == 2
    assert "grahps" in capsys.readouterr().err


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_can_be_found(stage):
    assert callable(getattr(importlib.import_module(f"bench.gpu.{stage.module}"), stage.function))


FAKE_CHILD = """
import json, os, signal, sys, time
def emit(**event):
    print(json.dumps(event), flush=True)
for stage in sys.argv[1:]:
    emit(event="begin", stage=stage)
    line = dict(stage=stage, check="first", measured="1", criterion="1", verdict="PASS")
    emit(event="line", stage=stage, line=line)
    if stage == "graphs":
        {trouble}
    emit(event="end", stage=stage, seconds=1.0)
"""


def run_fake(tmp_path, trouble: str, names=("golden", "graphs", "stack"), limit_s=60.0, stage_limit_s=60.0) -> Results:
    """Run stages in a child that gets into trouble in the stage "graphs"."""
    stages = [Stage(name, GROUP_OF[name], "", stage_limit_s, name) for name in names]
    results = Results(tmp_path)
    command = [sys.executable, "-c", FAKE_CHILD.format(trouble=trouble)]
    run_group(stages, command, {}, results, limit_s, tmp_path / "log.txt", lambda text: None)
    return results


def by_stage(results: Results) -> dict[str, list[str]]:
    return {stage.name: [line.verdict for line in results.lines if line.stage == stage.name] for stage in STAGES}


def test_a_stage_that_hangs_costs_no_other(tmp_path):
    results = run_fake(tmp_path, "time.sleep(60)", stage_limit_s=1.0)
    found = by_stage(results)
    assert (found["golden"], found["graphs"], found["stack"]) == (["PASS"], ["PASS", "out of time"], ["PASS"])
    assert results.failed
    kept = json.loads((tmp_path / "correctness.json").read_text())
    assert [line["verdict"] for line in kept["lines"]] == ["PASS", "PASS", "out of time", "PASS"]


def test_a_stage_that_kills_its_process_fails_and_costs_no_other(tmp_path):
    found = by_stage(run_fake(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"))
    assert (found["golden"], found["graphs"], found["stack"]) == (["PASS"], ["PASS", "FAIL"], ["PASS"])


def test_a_stage_that_breaks_cuda_is_followed_by_a_new_process(tmp_path):
    trouble = 'emit(event="end", stage=stage, seconds=1.0, process_broken=True); sys.exit()'
    results = run_fake(tmp_path, trouble)
    assert verdicts(results) == {"PASS"}
    assert list(results.seconds) == ["golden", "graphs", "stack"]


def test_a_child_that_cannot_start_fails_every_stage_once(tmp_path):
    results = Results(tmp_path)
    log = tmp_path / "log.txt"
    run_group(choose(["correctness"]), [sys.executable, "-c", "import nothing"], {}, results, 60.0, log, print)
    assert {line.stage for line in results.lines} == {stage.name for stage in choose(["correctness"])}
    assert verdicts(results) == {"FAIL"}
    assert "nothing" in log.read_text()


def test_timings_that_run_out_of_time_have_not_failed(tmp_path):
    results = run_fake(tmp_path, "pass", names=("steps", "profile"), limit_s=0.0)
    assert verdicts(results) == {"measured"}
    assert not results.failed


@pytest.mark.parametrize("way", {variant.way for variant in WAYS.values()})
def test_every_way_to_convolve_computes_the_convolution(way):
    assert max(error_of(way, layer, SMALL) for layer in LAYERS) < 1e-5


def test_a_way_that_computes_something_else_is_seen():
    class Mirrored(Grouped):
        def run(self, which):
            return super().run(which).flip(-1)

    assert error_of(Mirrored, LAYERS[1], SMALL) > 0.1


def test_a_step_s_convolutions_leave_out_the_gradient_of_the_images():
    times = {"forward_ms": 1.0, "data_ms": 10.0, "weight_ms": 100.0}
    rows = [{"seeds": 30, "precision": "fp32", "way": "a", "layer": layer.name, **times} for layer in LAYERS]
    assert convolution_table(rows)[1] == ("30", "fp32", "a", "323", "101", "111", "111")
    del rows[1]["data_ms"]  # a pass that could not be computed
    assert convolution_table(rows)[1] == ("30", "fp32", "a", "", "101", "", "111")


def test_hours_of_the_figure():
    one = {"seeds": 30, "precision": "fp32", "epoch_ms": 20.0}
    rows = [one | {"method": method} for method in ("bp", "l2", "snp", "cbp")]
    rows[0] |= {"metrics_ms": 4.0, "curvature_ms": 100.0}
    rows += [{"seeds": 1, "precision": "fp32", "method": "bp", "epoch_ms": 5.0}]
    expected_s = 5000 * (4 * 250 * (0.020 + 0.004) + 4 * 0.1)
    assert figure_hours(rows)["fp32"] == pytest.approx(expected_s / 3600)
    assert figure_hours(rows[1:]) == {}


class Recorded:
    """Runs with given records."""

    def __init__(self, documents):
        self._documents = documents

    def documents(self):
        return self._documents


def records(*values: float | None):
    return [[{"task": 0, "epoch": epoch, "loss": value} for epoch, value in enumerate(values)]]


@pytest.mark.parametrize(
    ("resumed", "again", "failing"),
    [
        (records(1.0, 2.0, None), records(1.0, 2.0, None), []),
        (records(1.0, 2.5, None), records(1.0, 2.0, None), ["values after resume"]),
        (records(1.0, 2.5, None), records(1.0, 2.4, None), []),  # no further apart than two uninterrupted runs
        (records(1.0, 2.0), records(1.0, 2.0, None), ["records after resume"]),
        (records(1.0, 2.0, 3.0), records(1.0, 2.0, None), ["values after resume"]),
    ],
)
def test_records_of_a_resumed_run_are_held_against_uninterrupted_ones(resumed, again, failing):
    results = Results()
    whole = records(1.0, 2.0, None)
    runs._compare(Report("runs", True, results.take), *map(Recorded, (whole, again, resumed)))
    assert [line.check for line in results.lines if line.verdict == "FAIL"] == failing


def test_the_busy_share_counts_time_in_which_kernels_overlap_once():
    assert profiling.busy_share([(0, 2), (1, 3), (5, 6)]) == pytest.approx(4 / 6)
    assert profiling.busy_share([]) == 0


def test_trainings_apart_by_a_nan_are_infinitely_far_apart():
    from bench.gpu.agreement import apart

    trained = engine.train(engine.spec_of("bp", SMALL), [0], 1, SMALL, graphs=False)
    broken = engine.Trained(trained.start, {n: t * math.nan for n, t in trained.end.items()}, trained.losses)
    assert apart(trained, trained) == 0
    assert apart(broken, trained) == math.inf


def test_wheels_are_installed_into_a_folder_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "FOLDER", tmp_path / "wheels")
    assert "pip install" in wheels.install(tmp_path / "site")
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "tried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tried.py", "VALUE = 1\n")
        wheel.writestr("tried-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tried\nVersion: 1.0\n")
        wheel.writestr("tried-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tried-1.0.dist-info/RECORD", "")
    assert wheels.install(tmp_path / "site") == ""
    assert (tmp_path / "site" / "tried.py").exists()


def test_the_table_of_the_summary_survives_any_text():
    results = Results(about={"device": "CPU", "command": "x", "date": "today"})
    Report("golden", True, results.take).check("bp", False, "a | b", "<= 1")
    assert "| FAIL | golden | bp | a / b | <= 1 |" in markdown(results)


class Gpu(Setup):
    """A CPU that passes for a GPU: the code around the device runs, its calls are `fake_cuda`'s."""

    on_gpu = True


GPU = Gpu(torch.device("cpu"), small=True)


@pytest.fixture
def fake_cuda(monkeypatch):
    """torch.cuda without a GPU; the mode of its detector of waits stands in ["mode"]."""
    state = {"mode": "default", "allocated": 0, "reserved": 0}

    class Stream:
        def __init__(self, device=None):
            pass

        def wait_stream(self, other):
            pass

    class Graph:
        def replay(self):
            pass

    class Event:
        def __init__(self, enable_timing=False):
            pass

        def record(self):
            pass

        synchronize = record

        def elapsed_time(self, other):
            return 3.0

    fakes = {
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "set_sync_debug_mode": lambda mode: state.update(mode=mode),
        "mem_get_info": lambda device=None: (40 * 2**30, 80 * 2**30),
        "reset_peak_memory_stats": lambda device=None: None,
        "max_memory_reserved": lambda device=None: state["reserved"],
        "memory_allocated": lambda device=None: state["allocated"],
        "current_stream": Stream,
        "Stream": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "graph": lambda graph: contextlib.nullcontext(),
        "CUDAGraph": Graph,
        "Event": Event,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return state


def run_on_gpu(name: str) -> dict[str, str]:
    """Run a stage on the fake GPU; return the verdicts by check."""
    results = Results()
    child.run_stages(choose([name]), GPU, results.take)
    return {line.check: line.verdict for line in results.lines}


@pytest.mark.parametrize(("waits_a_step", "of_epoch"), [(0, "PASS"), (1, "FAIL")])
def test_a_step_that_waits_for_the_device_fails(waits_a_step, of_epoch, fake_cuda, monkeypatch):
    def wait() -> None:
        if fake_cuda["mode"] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        if fake_cuda["mode"] == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)

    def fake(learner, device):
        def step(*batch):
            for _ in range(waits_a_step):
                wait()
            return learner.step(*batch)

        return step

    def measure(stack, *names):
        wait()
        wait()
        return {}

    monkeypatch.setattr(engine, "fast_step", fake)
    monkeypatch.setattr(engine.Stack, "measure", measure)
    assert run_on_gpu("waiting") == {"an epoch": of_epoch, "a metric epoch": "PASS"}
    assert fake_cuda["mode"] == "default"


def test_metrics_that_wait_too_often_fail(fake_cuda, monkeypatch):
    def measure(stack, *names):
        for _ in range(3):
            if fake_cuda["mode"] == "warn":
                warnings.warn("called a synchronizing CUDA operation", stacklevel=2)

    monkeypatch.setattr(engine.Stack, "measure", measure)
    assert run_on_gpu("waiting")["a metric epoch"] == "FAIL"


@pytest.mark.parametrize(
    ("reserved", "grows_by", "verdicts"), [(2**30, 0, ("PASS", "PASS")), (2**34, 2**21, ("FAIL", "FAIL"))]
)
def test_memory_beyond_the_plan_or_left_behind_fails(reserved, grows_by, verdicts, fake_cuda, monkeypatch):
    def train_and_measure(stack):
        fake_cuda["allocated"] += grows_by

    monkeypatch.setattr(load, "_train_and_measure", train_and_measure)
    fake_cuda["reserved"] = reserved
    found = run_on_gpu("memory")
    assert (found["2 seeds"], found["2 seeds, growth"]) == verdicts


def test_convolutions_are_timed_as_graphs_and_a_way_that_cannot_run_leaves_a_note(fake_cuda, monkeypatch):
    class Unable(Grouped):
        def run(self, which):
            if which == "data" and self.images.dtype == torch.float32 and fake_cuda["timing"]:
                raise RuntimeError("not implemented for this type\nand more")
            return super().run(which)

    monkeypatch.setattr(convolutions, "WAYS", {"a": WAYS["im2col"], "b": Variant(Unable), "c": Variant(Separate)})
    monkeypatch.setattr(convolutions, "PRECISIONS", ("fp32",))
    fake_cuda["timing"] = False
    time_way = convolutions._time_way
    monkeypatch.setattr(convolutions, "_time_way", lambda *args: fake_cuda.update(timing=True) or time_way(*args))
    results = Results()
    child.run_stages(choose(["convolutions"]), GPU, results.take)
    rows = {(row["way"], row["layer"]): row for row in results.table("convolutions")}
    assert rows["a", "conv2"]["forward_ms"] == 1.0
    assert rows["c", "conv2"]["data_ms"] == 1.0
    assert rows["b", "conv2"]["note"] == "not implemented for this type"
    assert verdicts(results) == {"PASS"}
