"""Compare methods that act at task boundaries with plain implementations, for other values than the golden figures."""

import pytest
import torch

from lop_engine.errors import ConfigError
from lop_engine.methods.fire import orthogonal
from lop_engine.training.learner import Learner
from tests.engine.plain import Plain, assert_same, forward
from tests.engine.test_methods import CPU, make_spec, task_of

ADAM = {"opt": "adam", "step_size": 1e-3, "epsilon": 1e-4}


class AtBoundary(Plain):
    """Changes all weights but those that the problem has just set to zero."""

    def start_task(self, index, images, labels):
        if index == 0:
            return
        self.change(index, images, labels)
        if self.spec.new_heads:
            self.params["fc3.weight"].zero_()
            self.params["fc3.bias"].zero_()

    def others(self, kind, index):
        """Return initial weights, or the fresh ones that the method draws for this task."""
        if kind == "initial":
            return self.initial
        return {name: self.row(one) for name, one in self.learner.method.fresh(index).items()}


class ShrinkAndPerturb(AtBoundary):
    def change(self, index, images, labels):
        spec, others = self.spec, self.others(self.spec.snp_task_weights, index)
        perturb = spec.snp_task_shrink if spec.snp_task_perturb is None else spec.snp_task_perturb
        for name, weight in self.params.items():
            weight.copy_((1 - spec.snp_task_shrink) * weight + perturb * others[name])
        if spec.snp_task_optimizer_state == "reset":
            self.new_optimizer()


@pytest.mark.parametrize("more", [{}, {"new_heads": False}, ADAM])
@pytest.mark.parametrize(
    "own",
    [
        {"snp_task_shrink": 0.3},
        {"snp_task_shrink": 0.6, "snp_task_perturb": 0.1, "snp_task_weights": "initial"},
        {"snp_task_shrink": 0.5, "snp_task_perturb": 0.0, "snp_task_optimizer_state": "keep"},
    ],
)
def test_shrink_and_perturb_agrees_with_a_plain_implementation(own, more):
    assert_same(ShrinkAndPerturb, {"agent": "snp_task"} | own | more)


class Dash(AtBoundary):
    def change(self, index, images, labels):
        spec, mean = self.spec, {name: torch.zeros_like(weight) for name, weight in self.params.items()}
        with torch.enable_grad():
            size = spec.mini_batch_size
            for x, y in zip(images.split(size), labels.split(size), strict=True):
                for name, grad in self.gradient(x, y).items():
                    mean[name] = (1 - spec.dash_alpha) * mean[name] - spec.dash_alpha * grad
        for name, weight in self.params.items():
            rows = weight.flatten(0, 1).flatten(1) if weight.dim() == 4 else weight
            towards = mean[name].view(rows.shape)
            for row, toward in zip(rows, towards, strict=True) if rows.dim() == 2 else [(rows, towards)]:
                lengths = max(1e-8, float(row.norm())) * max(1e-8, float(toward.norm()))
                row.mul_(max(spec.dash_lambda, float(row @ toward) / lengths))
        if spec.dash_optimizer_state == "reset":
            self.new_optimizer()


@pytest.mark.parametrize("more", [{}, {"new_heads": False}, {"new_heads": False} | ADAM])
@pytest.mark.parametrize(
    "own",
    [
        {"dash_alpha": 0.7, "dash_lambda": 0.05},
        {"dash_alpha": 0.1, "dash_lambda": 0.6, "dash_optimizer_state": "reset"},
    ],
)
def test_dash_agrees_with_a_plain_implementation(own, more):
    assert_same(Dash, {"agent": "dash"} | own | more)


class Fire(AtBoundary):
    def change(self, index, images, labels):
        for name, weight in self.params.items():
            if not name.endswith("weight"):
                continue
            if weight.dim() == 2:
                weight.copy_(self.orthogonal(weight))
                continue
            for row in range(weight.shape[2]):
                for column in range(weight.shape[3]):
                    scaled = self.orthogonal(weight[:, :, row, column]) / (weight.shape[2] * weight.shape[3])
                    weight[:, :, row, column] = scaled
        if self.spec.fire_optimizer_state == "reset":
            self.new_optimizer()

    def orthogonal(self, matrix):
        if not matrix.any():
            return matrix
        x = matrix / matrix.norm()
        for _ in range(self.spec.fire_iterations):
            x = 1.5 * x - 0.5 * x @ x.T @ x
        return (matrix.shape[0] / matrix.shape[1]) ** 0.5 * x


@pytest.mark.parametrize("more", [{}, {"new_heads": False}, ADAM])
@pytest.mark.parametrize("own", [{"fire_iterations": 3}, {"fire_iterations": 25, "fire_optimizer_state": "keep"}])
def test_fire_agrees_with_a_plain_implementation(own, more):
    assert_same(Fire, {"agent": "fire"} | own | more)


def test_enough_iterations_of_fire_make_rows_or_columns_orthogonal():
    generator = torch.Generator().manual_seed(1)
    for shape in ((2, 6, 9), (2, 9, 6), (2, 1, 5)):
        matrix = torch.randn(*shape, generator=generator, dtype=torch.float64)
        result = orthogonal(matrix, 30)
        small = result @ result.mT if shape[1] <= shape[2] else result.mT @ result
        torch.testing.assert_close(small, torch.eye(small.shape[1], dtype=torch.float64).expand_as(small))
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        torch.testing.assert_close(result, u @ v)  # the nearest orthogonal matrix
    assert not orthogonal(torch.zeros(1, 3, 4), 5).any()


class HeadReset(AtBoundary):
    def change(self, index, images, labels):
        names = [
            f"{layer}.{kind}" for layer in self.layers[-self.spec.head_reset_layers :] for kind in ("weight", "bias")
        ]
        others = self.others(self.spec.head_reset_weights, index)
        for name in names:
            self.params[name].copy_(others[name])
            if self.spec.head_reset_optimizer_state == "reset":
                for tensor in self.optimizer.state[self.params[name]].values():
                    tensor.zero_()


@pytest.mark.parametrize("more", [{}, {"new_heads": False}, ADAM])
@pytest.mark.parametrize(
    "own",
    [
        {},
        {"head_reset_layers": 2, "head_reset_weights": "initial"},
        {"head_reset_layers": 3, "head_reset_optimizer_state": "keep"},
        {"head_reset_layers": 9},
    ],
)
def test_head_reset_agrees_with_a_plain_implementation(own, more):
    assert_same(HeadReset, {"agent": "head_reset"} | own | more)


class FullReset(AtBoundary):
    def change(self, index, images, labels):
        others = self.others(self.spec.full_reset_weights, index)
        for name, weight in self.params.items():
            weight.copy_(others[name])
        self.new_optimizer()


@pytest.mark.parametrize("more", [{}, {"new_heads": False}, ADAM])
@pytest.mark.parametrize("weights", ["fresh", "initial"])
def test_full_reset_agrees_with_a_plain_implementation(weights, more):
    assert_same(FullReset, {"agent": "full_reset", "full_reset_weights": weights} | more)


@pytest.mark.parametrize("network", ["conv_net", "mlp"])
def test_fresh_weights_equal_those_of_a_new_network_for_each_seed_and_task(network):
    spec = make_spec({"agent": "full_reset", "network": network, "layer_norm": True})
    stack, alone = Learner(spec, [3, 8], CPU), Learner(spec, [8], CPU)
    first, second = (stack.method.fresh(task) for task in (1, 2))
    assert first.keys() == stack.params.keys()
    for name, weight in first.items():
        assert torch.equal(weight[1:], alone.method.fresh(1)[name])
        if name.startswith("layer_norm"):
            assert torch.equal(weight, stack.params[name])
            continue
        bound = (stack.net.weight_bounds if name.endswith("weight") else stack.net.bias_bounds)[name.partition(".")[0]]
        assert float(weight.abs().max()) <= bound
        if bound:
            assert not torch.equal(weight[0], weight[1])
            assert not torch.equal(weight, second[name])
            assert not torch.equal(weight, stack.params[name])


def test_a_network_reset_for_each_task_learns_like_a_run_of_that_task_alone():
    spec = make_spec({"agent": "full_reset", "full_reset_weights": "initial", "precision": "fp64"})
    long, single = Learner(spec, [3], CPU), Learner(spec.with_changes(agent="bp"), [3], CPU)
    for learner, tasks in ((long, range(3)), (single, [2])):
        for index in tasks:
            task = task_of([3], index, 12)
            learner.start_task(index, task)
            learner.start_epoch(index, 0)
            for _ in range(4):
                learner.step(task.train_inputs.double(), task.train_targets)
    for name, weight in single.params.items():
        assert torch.equal(weight, long.params[name])


class PlasticityInjection(Plain):
    def __init__(self, learner, run):
        super().__init__(learner, run)
        first = max(3, len(self.layers) - self.spec.injection_layers)
        self.names = [f"{layer}.{kind}" for layer in self.layers[first:] for kind in ("weight", "bias")]
        self.frozen = self.start = None

    def start_task(self, index, images, labels):
        if index == self.spec.injection_after:
            fresh = self.learner.method.fresh(index)
            self.frozen = {name: self.params[name].detach().clone() for name in self.names}
            self.start = {name: self.row(fresh[name]) for name in self.names}
            for name in self.names:
                self.params[name].copy_(self.start[name])
                for tensor in self.optimizer.state[self.params[name]].values():
                    tensor.zero_()
        if self.spec.new_heads and self.frozen:
            for weights in (self.frozen, self.start) + ((self.params,) if index == self.spec.injection_after else ()):
                weights["fc3.weight"].zero_()
                weights["fc3.bias"].zero_()

    def outputs(self, images):
        outputs = forward(self.params, images)
        if self.frozen is None:
            return outputs
        return outputs + forward(self.params | self.frozen, images) - forward(self.params | self.start, images)


@pytest.mark.parametrize("more", [{}, {"new_heads": False}, {"new_heads": False} | ADAM])
@pytest.mark.parametrize("own", [{}, {"injection_layers": 5, "injection_after": 2}])
def test_plasticity_injection_agrees_with_a_plain_implementation(own, more):
    assert_same(PlasticityInjection, {"agent": "plasticity_injection"} | own | more)


@pytest.mark.parametrize("network", ["conv_net", "mlp"])
def test_an_injection_keeps_the_outputs_and_trains_other_weights(network):
    settings = {"agent": "plasticity_injection", "new_heads": False, "precision": "fp64", "network": network}
    learner = Learner(make_spec(settings, injection_layers=3), [3, 8], CPU)
    task = task_of([3, 8], 0, 12)
    images, labels = task.train_inputs.double(), task.train_targets
    learner.start_task(0, task)
    learner.start_epoch(0, 0)
    for _ in range(5):
        learner.step(images, labels)
    before, weights = learner.forward(learner.evaluated(), images).outputs_SBO, dict(learner.evaluated())
    weights = {name: weight.clone() for name, weight in weights.items()}
    learner.start_task(1, task)
    after = learner.forward(learner.evaluated(), images).outputs_SBO
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    layers = [layer.name for layer in learner.net.layers]
    changed = {
        name.partition(".")[0] for name, weight in learner.params.items() if not torch.equal(weight, weights[name])
    }
    assert changed == set(layers[-3:])
    frozen = {name: weight.clone() for name, weight in learner.method.state().items()}
    learner.step(images, labels)
    assert not torch.equal(learner.forward(learner.evaluated(), images).outputs_SBO, after)
    assert all(torch.equal(weight, frozen[name]) for name, weight in learner.method.state().items())


def test_a_network_without_linear_layers_at_the_end_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"needs .*linear layers at the end.* network linear has none"):
        make_spec({"agent": "plasticity_injection"}, network="linear")
