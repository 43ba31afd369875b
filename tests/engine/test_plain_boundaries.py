"""Methods that act at task boundaries, written a second time, with other numbers than the public figures."""

import pytest
import torch

from lop_engine.training.learner import Learner
from tests.engine.plain import Plain, assert_same
from tests.engine.test_methods import CPU, make_spec, task_of

ADAM = {"opt": "adam", "step_size": 1e-3, "epsilon": 1e-4}


class AtBoundary(Plain):
    """What the problem has just set to zero stays zero."""

    def start_task(self, index, images, labels):
        if index == 0:
            return
        self.change(index, images, labels)
        if self.spec.new_heads:
            self.params["fc3.weight"].zero_()
            self.params["fc3.bias"].zero_()

    def others(self, kind, index):
        """Initial weights, or the fresh ones that the method draws for this task."""
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
def test_shrink_and_perturb(own, more):
    assert_same(ShrinkAndPerturb, {"agent": "snp_task"} | own | more)


class HeadReset(AtBoundary):
    def change(self, index, images, labels):
        names = [
            f"{layer}.{kind}" for layer in self.layers[-self.spec.head_reset_layers :] for kind in ("weight", "bias")
        ]
        others = self.others(self.spec.head_reset_weights, index)
        for name in names:
            self.params[name].copy_(others[name])
            if self.spec.head_reset_optimizer_state == "reset":
                for kept in self.optimizer.state[self.params[name]].values():
                    kept.zero_()


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
def test_head_reset(own, more):
    assert_same(HeadReset, {"agent": "head_reset"} | own | more)


class FullReset(AtBoundary):
    def change(self, index, images, labels):
        others = self.others(self.spec.full_reset_weights, index)
        for name, weight in self.params.items():
            weight.copy_(others[name])
        self.new_optimizer()


@pytest.mark.parametrize("more", [{}, {"new_heads": False}, ADAM])
@pytest.mark.parametrize("weights", ["fresh", "initial"])
def test_full_reset(weights, more):
    assert_same(FullReset, {"agent": "full_reset", "full_reset_weights": weights} | more)


@pytest.mark.parametrize("network", ["conv_net", "mlp"])
def test_fresh_weights_are_those_of_a_new_network_of_each_seed_and_task(network):
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


def test_a_network_that_starts_over_for_each_task_learns_it_as_a_run_of_that_task_alone():
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
