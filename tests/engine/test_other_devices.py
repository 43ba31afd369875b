"""Requirements of a GPU, checked on a CPU: tensors stay on one device, nothing waits for it, memory is as planned."""

import sys
from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from lop_engine import metrics
from lop_engine.device.transfers import HostCopies
from lop_engine.experiment.registry import METRICS
from lop_engine.experiment.spec import Spec
from lop_engine.launch.stack_sizes import run_bytes_on_gpu
from lop_engine.methods import step_numbers
from lop_engine.metrics.curvature import curvature, random_directions
from lop_engine.metrics.ranks import singular_values
from lop_engine.networks.convolution import WAYS, ImageConvolution, Way, hidden_maps, way_of
from lop_engine.problems import Task, continual_imagenet
from lop_engine.streams import DRAWN_AT_ONCE_BYTES, Stream, torch_seed
from lop_engine.training import loop
from lop_engine.training.learner import Learner
from lop_engine.worker import checkpoint
from tests.engine.test_learners import CPU, DRAWING, METHODS, make_spec, numbers_of

MEASURED = tuple(name for name, metric in METRICS.items() if "squared error" not in metric.needs)
"""The metrics of a classifier."""
OF_NO_LAYER = tuple(name for name in MEASURED if not METRICS[name].layer)
"""Without those of single layers, whose activations would all be copied."""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.long
def test_an_epoch_and_all_its_metrics_stay_on_their_device_until_their_transfer(method, monkeypatch):
    """The meta device has shapes but no values, so waiting for a value or using a tensor of the CPU raises an error."""

    def on_cpu(seeds, stream, *counters, device):
        return [torch.Generator().manual_seed(torch_seed(seed, stream, *counters)) for seed in seeds]

    for module in [m for name, m in sys.modules.items() if name.startswith("lop_engine") and m]:
        if hasattr(module, "seed_generators"):
            monkeypatch.setattr(module, "seed_generators", on_cpu)  # the meta device has no generators
    meta = torch.device("meta")
    sizes = {"mini_batch_size": 20, "train_images": 55, "test_images": 20, "normalisation": "scaled"}
    spec = make_spec(method, metrics=OF_NO_LAYER, **sizes)
    learner = Learner(spec, [0, 1], meta)
    stored = torch.empty(2, 2, 75, 3, 32, 32, dtype=torch.uint8, device=meta)
    task = continual_imagenet.make_task(spec, [[0, 1], [0, 1]], stored, torch.float32)
    order = loop.batch_order([0, 1], 110, 0, 0, meta)
    learner.start_epoch(0, 0)
    steps = loop.train_epoch(learner.step, task, order, 20)
    assert len(steps.scores) == len(steps.losses) == 6
    assert {one.device for one in steps.scores + steps.losses} == {meta}
    transfers = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: transfers.append(tensor) or torch.zeros(tensor.shape))
    measurement = loop.start_measuring(spec, learner, task, order, (0, 0), steps)
    assert sum(tensor.numel() for tensor in transfers) <= 2 * (len(OF_NO_LAYER) + 1 + 20 * 128)
    monkeypatch.undo()
    values = measurement.result()  # from here on, nothing may use the device
    assert set(values) <= set(OF_NO_LAYER)


def draws(method, seeds, num_steps, at_once, monkeypatch) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """Return the random numbers of the steps of two epochs (steps, S, N), and shapes of draws for `at_once` steps."""
    monkeypatch.setattr(step_numbers, "steps_at_once", lambda spec, count, device, every, is_uniform: at_once)
    learner = Learner(make_spec(method), seeds, CPU)
    numbers, drawn = numbers_of(learner), []
    fill, tensor = numbers.fill, numbers.of_step_SN
    numbers.fill = lambda into, **more: drawn.append(tuple(into.shape)) or fill(into, **more)
    steps = []
    for epoch in range(2):
        learner.start_epoch(0, epoch)
        for _ in range(num_steps):
            numbers.draw()
            steps.append(numbers.of_step_SN.clone())
    assert numbers.of_step_SN is tensor  # a CUDA graph reads this tensor
    return torch.stack(steps), drawn


@pytest.mark.parametrize("method", DRAWING)
def test_the_random_numbers_of_an_epoch_are_drawn_at_once_and_depend_only_on_the_seed(method, monkeypatch):
    alone, _ = draws(method, [7], 4, 4, monkeypatch)
    stack, drawn = draws(method, [2, 7, 5], 4, 4, monkeypatch)
    assert torch.equal(stack[:, 1], alone[:, 0])
    assert [shape[0] for shape in drawn] == [4] * 3 * 2  # one draw for each seed and epoch
    assert len(torch.unique(stack[:, :, 0])) == stack[:, :, 0].numel()
    longer, _ = draws(method, [7], 7, 4, monkeypatch)  # more steps than are drawn at once
    assert torch.equal(longer[:4], alone[:4])
    assert len(torch.unique(longer[:, 0, 0])) == 14


def test_a_method_that_draws_rarely_stores_few_numbers():
    gpu, spec = torch.device("cuda"), make_spec("bp", train_images=600, test_images=100, mini_batch_size=100)
    assert [step_numbers.steps_at_once(spec, 1000, gpu, every) for every in (1, 5, 12, 1000)] == [12, 3, 1, 1]
    learner = Learner(make_spec("redo", redo_period=4), [7], CPU)
    drawn = []
    learner.method.numbers.draw = lambda: drawn.append(learner.method.step + 1)
    learner.start_epoch(0, 0)
    for _ in range(12):
        learner.step(torch.randn(1, 2, 3, 32, 32), torch.zeros(1, 2, dtype=torch.long))
    assert drawn == [4, 8, 12]


def test_on_a_cpu_numbers_are_drawn_step_by_step(monkeypatch):
    snp = Learner(make_spec("snp"), [7], CPU)
    snp.start_epoch(2, 1)
    generator = torch.Generator().manual_seed(torch_seed(7, Stream.PERTURBATION, 2, 1))
    for _ in range(3):
        snp.method.draw()
        expected = torch.empty_like(snp.method.noise_SN[0]).normal_(generator=generator)
        assert torch.equal(snp.method.noise_SN[0], expected)


def test_a_gpu_draws_the_numbers_of_an_epoch_at_once_if_memory_allows():
    paper = make_spec("snp", width=1.0, train_images=600, test_images=100, mini_batch_size=100)
    numbers = sum(weight[0].numel() for weight in Learner(paper, [0], CPU).params.values())
    gpu = torch.device("cuda")
    assert step_numbers.steps_at_once(paper, numbers, gpu) == 12
    assert step_numbers.steps_at_once(paper, numbers, CPU) == 1
    small_batches = paper.with_changes(**{"mini_batch_size": 5})
    at_once = step_numbers.steps_at_once(small_batches, numbers, gpu)
    assert 1 < at_once < 240
    assert at_once * numbers * 4 <= DRAWN_AT_ONCE_BYTES
    for spec in (paper, small_batches):
        drawn = 4 * numbers * (1 + step_numbers.steps_at_once(spec, numbers, gpu))
        without_noise = spec.with_changes(**{"width": 0.01})
        assert run_bytes_on_gpu(spec) > run_bytes_on_gpu(without_noise) + drawn


@pytest.mark.parametrize("num_seeds", [1, 2, 3])
def test_the_image_gradient_of_the_first_convolution_equals_that_of_torch(num_seeds):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3 * num_seeds, 32, 30, generator=generator).to(memory_format=torch.channels_last)
    weight = torch.randn(8 * num_seeds, 3, 5, 5, generator=generator)
    bias = torch.randn(8 * num_seeds, generator=generator)
    given = torch.randn(4, 8 * num_seeds, 28, 26, generator=generator)
    gradients = []
    for convolution in (ImageConvolution.apply, lambda *args: torch.conv2d(*args[:3], groups=args[3])):
        leaf = images.clone().requires_grad_(True)
        gradients += torch.autograd.grad(convolution(leaf, weight, bias, num_seeds), leaf, given)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("bias_after_pooling", [False, True])
@pytest.mark.parametrize("image_gradient_by_rows", [False, True])
def test_every_way_to_convolve_gives_the_same_values_and_gradients(bias_after_pooling, image_gradient_by_rows):
    learner = Learner(make_spec(width=0.25), [0, 1, 2], CPU)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 5, 3, 32, 32, generator=generator)
    layers = [(learner.params[f"conv{n}.weight"], learner.params[f"conv{n}.bias"]) for n in (1, 2, 3)]

    def outcome(way):
        hidden = hidden_maps(images, layers, way)
        leaves = [leaf for layer in layers for leaf in layer]
        in_weights = torch.autograd.grad(hidden[-1].activation.square().sum(), leaves)
        image, fixed = images.clone().requires_grad_(True), [(w.detach(), b.detach()) for w, b in layers]
        in_image = torch.autograd.grad(hidden_maps(image, fixed, way)[-1].activation.square().sum(), image)
        maps = [map for layer in hidden for map in (layer.activation, layer.before_pooling)]
        return [*maps, *in_weights, *in_image]

    way = Way(bias_after_pooling, image_gradient_by_rows)
    for mine, theirs in zip(outcome(way), outcome(WAYS["cpu"]), strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_each_device_convolves_as_listed_in_ways(monkeypatch):
    """A device that is missing from the table is treated as a GPU."""
    biases = []
    convolve = torch.nn.functional.conv2d
    monkeypatch.setattr(
        torch.nn.functional, "conv2d", lambda x, w, bias, **more: biases.append(bias) or convolve(x, w, bias, **more)
    )
    for device in (CPU, torch.device("meta")):
        learner = Learner(make_spec(), [0, 1], device)
        learner.net(learner.params, torch.empty(2, 4, 3, 32, 32, device=device))
    assert [bias is None for bias in biases] == [False] * 3 + [True] * 3
    assert way_of(torch.device("cuda:1")) == WAYS["cudnn"]


class OnGpu(torch.Tensor):
    """A tensor that claims to be on a GPU."""

    device = torch.device("cuda", 0)


def test_copies_from_a_gpu_are_queued_and_only_the_result_waits(monkeypatch):
    events = []

    class Event:
        def __init__(self, blocking=False):
            assert blocking  # a waiting thread must not occupy a core

        def record(self):
            events.append("record")

        def synchronize(self):
            events.append("wait")

    def empty_like(tensor, device, pin_memory):
        assert (device, pin_memory) == ("cpu", True)
        return torch.empty(tensor.shape)

    copy = torch.Tensor.copy_

    def copy_(tensor, other, non_blocking=False):
        events.append(("copy", non_blocking))
        return copy(tensor, other.as_subclass(torch.Tensor))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "empty_like", empty_like)
    monkeypatch.setattr(torch.Tensor, "copy_", copy_)
    there = [torch.arange(3.0), torch.ones(2, 2)]
    copies = HostCopies([*(tensor.as_subclass(OnGpu) for tensor in there), torch.zeros(1)])
    assert events == [("copy", True), ("copy", True), "record"]
    here = copies.result()
    assert events[3:] == ["wait"]
    assert all(torch.equal(one, other) for one, other in zip(here, [*there, torch.zeros(1)], strict=True))
    assert not any(isinstance(tensor, OnGpu) for tensor in here)


def test_a_state_is_copied_to_the_host_with_one_copy_for_each_tensor(monkeypatch):
    copies = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: copies.append(tensor) or torch.zeros(tensor.shape))
    state = Learner(make_spec("bp"), [0, 1, 2], torch.device("meta")).state()
    on_host = checkpoint.on_host(state)
    assert len(copies) == len(state) == len(on_host)
    assert {name: tensor.shape for name, tensor in on_host.items()} == {n: t.shape for n, t in state.items()}


def test_metrics_belong_to_their_epoch_while_training_continues():
    spec = make_spec("cbp", metrics=MEASURED, mini_batch_size=10, train_images=20, test_images=10)
    spec = spec.with_changes(**{"normalisation": "scaled"})
    stored = torch.randint(0, 256, (2, 2, 30, 3, 32, 32), dtype=torch.uint8)
    task = continual_imagenet.make_task(spec, [[0, 1], [0, 1]], stored, torch.float32)
    order, values = loop.batch_order([0, 1], 40, 0, 0, CPU), []
    for trains_on in (False, True):
        learner = Learner(spec, [0, 1], CPU)
        learner.start_epoch(0, 0)
        steps = loop.train_epoch(learner.step, task, order, 10)
        measurement = loop.start_measuring(spec, learner, task, order, (0, 0), steps)
        if trains_on:
            loop.train_epoch(learner.step, task, order, 10)
        values.append({name: value.tolist() for name, value in measurement.result().items()})
    assert values[0] == values[1]
    assert tuple(values[0]) == MEASURED


@pytest.mark.parametrize("num_seeds", [1, 3, 4, 30])
def test_singular_values_computed_in_threads_are_the_same(num_seeds):
    activations = torch.randn(num_seeds, 20, 16, generator=torch.Generator().manual_seed(0)).relu()
    activations[0] = 0
    activations[-1, 3, 3] = torch.nan
    expected = singular_values(activations)
    torch.testing.assert_close(
        metrics.singular_values_in_threads(activations), expected, rtol=1e-6, atol=1e-6, equal_nan=True
    )


def test_curvature_does_not_depend_on_the_number_of_directions_computed_at_once(monkeypatch):
    learner = Learner(make_spec(), [0, 1], CPU)
    images = torch.randn(2, 130, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(2, 130, dtype=torch.long)

    def measure():
        generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        directions = random_directions(images, generators)
        return curvature(learner.forward, learner.params, learner.problem.loss, images, labels, directions)

    one_by_one = measure()
    for at_once in (3, 10):
        monkeypatch.setattr(sys.modules[curvature.__module__], "directions_at_once", lambda x, n=at_once: n)
        torch.testing.assert_close(measure(), one_by_one, rtol=1e-3, atol=0)


@pytest.mark.parametrize("sizes", [(1.0, 100, 100, 60), (0.5, 20, 100, 50), (0.25, 200, 200, 100)])
def test_the_planned_memory_of_a_seed_covers_its_use(sizes):
    width, batch, train, test = sizes
    spec = make_spec("cbp", width=width, mini_batch_size=batch, train_images=train, test_images=test)
    spec = spec.with_changes(**{"normalisation": "scaled"})

    def one_epoch() -> None:
        learner = Learner(spec, [0], CPU)
        learner.start_epoch(0, 0)
        stored = torch.zeros(1, 2, train + test, 3, 32, 32, dtype=torch.uint8)
        task = continual_imagenet.make_task(spec, [[0, 1]], stored, torch.float32)
        order = loop.batch_order([0], 2 * train, 0, 0, CPU)[:, :100]
        loop.measure_epoch(spec, learner, task, order, (0, 0), loop.train_epoch(learner.step, task, order, batch))

    peak = peak_bytes(one_epoch)
    assert 0.9 * peak < run_bytes_on_gpu(spec) / 1.5 < 2.5 * peak


@pytest.mark.parametrize("agent", ["bp", "cbp"])
def test_the_memory_planned_for_a_task_in_parts_is_that_of_a_part_and_of_the_task_s_start(agent):
    sizes = {"num_features": 1000, "num_hidden_layers": 2, "change_after": 60_000}
    spec = Spec(problem="permuted_mnist", agent=agent, step_size=0.01, num_tasks=1, **sizes)
    pixels_MP = torch.randint(0, 256, (2000, 784), dtype=torch.uint8)

    def start_and_part() -> None:
        learner = Learner(spec, [0], CPU)
        parts = [
            (pixels_MP[None, at : at + 200] / 255, torch.zeros(1, 200, dtype=torch.long)) for at in range(0, 2000, 200)
        ]
        task = Task([{}], *parts[0], make_part=lambda part: parts[part])
        learner.start_epoch(0, 0)
        loop.measure_start(spec, learner, task, 0)
        loop.train_epoch(learner.step, task, None, 1)

    peak = peak_bytes(start_and_part)
    assert 0.9 * peak < run_bytes_on_gpu(spec) / 1.5 < 2.5 * peak


def peak_bytes(call: Callable[[], None]) -> int:
    """The most memory that torch holds at a time during a call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    held, peak = 0, 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak
