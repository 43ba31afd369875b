"""Hidden units in each network with each option: re-initialising them, and metrics of them.

Dimensions: S seeds, B batch, F units of a layer.
"""

import itertools

import pytest
import torch
from torch import Tensor

from lop_engine.experiment.registry import METRICS
from lop_engine.experiment.spec import Spec
from lop_engine.methods import units
from lop_engine.methods.units import NewUnits
from lop_engine.metrics import compute
from lop_engine.metrics.inputs import MetricInputs
from lop_engine.training.learner import Learner
from tests.engine.test_methods import make_spec

CPU = torch.device("cpu")
CASES = [
    {"network": network, "activation": activation, "layer_norm": norm}
    for network, activation, norm in itertools.product(
        ("conv_net", "mlp"), ("relu", "crelu", "tanh", "prelu", "fourier"), (False, True)
    )
]


def name_of(case: dict[str, object]) -> str:
    return "-".join(map(str, case.values()))


def spec_of(case: dict[str, object], **changes) -> Spec:
    return make_spec({"agent": "bp", "opt": "adam"} | case, num_hidden_layers=3, **changes)


@pytest.fixture(params=CASES, ids=name_of)
def learner(request) -> Learner:
    """Return a learner with random weights, norms and optimiser state."""
    learner = Learner(spec_of(request.param), [0, 3], CPU)
    generator = torch.Generator().manual_seed(0)
    for tensor in learner.state().values():
        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    for weight in learner.params.values():
        weight.requires_grad_(False)
    return learner


def masks(learner: Learner) -> dict[int, Tensor]:
    """Return masks of units of every hidden layer, different for each seed; the second seed has none in layer 1."""
    generator = torch.Generator().manual_seed(1)
    chosen = [torch.rand(2, layer.outputs, generator=generator) < 0.4 for layer in learner.net.hidden_layers]
    chosen[1][1] = False
    return dict(enumerate(chosen))


def fresh(learner: Learner, index: int) -> Tensor:
    """Return new incoming weights of a layer, all -1."""
    return torch.full((2, *learner.net.layers[index].weight_shape), -1.0)


def columns_of(learner: Learner, index: int, mask_SF: Tensor) -> Tensor:
    """Return a mask of the columns of the layer above that the units of a layer feed, (S, I)."""
    layer, above = learner.net.layers[index], learner.net.layers[index + 1]
    columns = torch.zeros(2, above.inputs * above.positions, dtype=torch.bool)
    for seed, unit in mask_SF.nonzero().tolist():
        for copy in range(above.copies):
            first = (copy * layer.outputs + unit) * above.positions
            columns[seed, first : first + above.positions] = True
    return columns


@pytest.mark.parametrize("winner", ["incoming", "outgoing"])
def test_reset_units_start_over_and_all_else_stays(learner, winner):
    chosen, net, params = masks(learner), learner.net, learner.params
    before = {name: weight.clone() for name, weight in params.items()}
    new = {index: NewUnits(mask, fresh(learner, index)) for index, mask in chosen.items()}
    units.reinitialise(params, net, new, winner)
    for index, layer in enumerate(net.layers):
        weight, expected = params[f"{layer.name}.weight"], before[f"{layer.name}.weight"]
        rows = chosen.get(index, torch.zeros(2, layer.outputs, dtype=torch.bool))
        below = columns_of(learner, index - 1, chosen[index - 1]) if index else torch.zeros(2, weight.shape[2]).bool()
        for seed in range(2):
            row, column = rows[seed], below[seed]
            old = weight[seed][~row][:, ~column]
            assert torch.equal(old, expected[seed][~row][:, ~column])
            assert not weight[seed][~row][:, column].any()
            assert (weight[seed][row][:, ~column] == -1).all()
            assert (weight[seed][row][:, column] == (-1 if winner == "incoming" else 0)).all()
        bias = before[f"{layer.name}.bias"].masked_fill(rows, 0)
        assert torch.equal(params[f"{layer.name}.bias"], bias)
        norm = net.norm_of(index) if index in chosen else None
        for kind, start in (("weight", 1.0), ("bias", 0.0)) if norm else ():
            scale, old = params[f"{norm}.{kind}"], before[f"{norm}.{kind}"]
            assert (scale[rows] == start).all()
            assert torch.equal(scale[~rows], old[~rows])


def test_a_subset_of_units_can_be_given_in_any_order(learner):
    """Continual backprop passes candidates by rising utility, and a mask of those to replace."""
    index, layer = 1, learner.net.layers[1]
    units_SR = torch.stack([torch.randperm(layer.outputs, generator=torch.Generator().manual_seed(s)) for s in (0, 1)])
    units_SR, mask_SF = units_SR[:, :2], torch.zeros(2, layer.outputs, dtype=torch.bool)
    mask_SF[0, units_SR[0, 1]] = mask_SF[1, units_SR[1, 0]] = True
    incoming = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])[:, :, None].expand(2, 2, layer.fan_in)
    units.reinitialise(learner.params, learner.net, {index: NewUnits(mask_SF, incoming, units_SR)})
    weight = learner.params[f"{layer.name}.weight"]
    assert (weight[0][mask_SF[0]] == -2).all()
    assert (weight[1][mask_SF[1]] == -3).all()
    assert (weight[~mask_SF] > 0).all()


def test_a_new_unit_has_no_effect_until_it_learns(learner):
    """Without normalisation, which mixes units, the outputs do not depend on the new incoming weights."""
    if learner.net.norms:
        return
    chosen, net, inputs = masks(learner), learner.net, torch.rand(2, 3, 3, 32, 32)
    for index, mask_SF in chosen.items():
        units.reinitialise(learner.params, net, {index: NewUnits(mask_SF, fresh(learner, index))})
        outputs = net(learner.params, inputs).outputs_SBO
        weight = learner.params[f"{net.layers[index].name}.weight"]
        weight.masked_fill_(units.like(mask_SF, weight), 5)
        assert torch.equal(net(learner.params, inputs).outputs_SBO, outputs)
        weight.masked_fill_(units.like(~mask_SF, weight), -5)
        assert not torch.equal(net(learner.params, inputs).outputs_SBO, outputs)


@pytest.mark.parametrize(("bias", "counts"), [(True, True), (False, False)])
def test_the_optimiser_forgets_the_weights_of_a_unit(learner, bias, counts):
    index, net, optimizer = 1, learner.net, learner.optimizer
    layer, above, norm = net.layers[1], net.layers[2], net.norm_of(index)
    mask_SF = torch.zeros(2, layer.outputs, dtype=torch.bool)
    mask_SF[0, 1] = True
    of_norm = (f"{norm}.weight", f"{norm}.bias") if norm else ()
    before = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    units.forget(optimizer, net, index, mask_SF, bias=bias, counts=counts)
    column = columns_of(learner, index, mask_SF)[0]
    for name, tensor in optimizer.state().items():
        kind, _, weight = name.partition(".")
        expected = before[name].clone()
        if counts or kind != "steps":
            if weight == f"{layer.name}.weight" or (bias and weight in (f"{layer.name}.bias", *of_norm)):
                expected[0, 1] = 0
            if weight == f"{above.name}.weight":
                expected[0][:, column] = 0
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_metrics_count_units_and_not_their_outputs(case):
    """A unit of crelu outputs relu(x) and relu(-x), together |x|, so it is dormant only if x is near 0.

    A unit of fourier outputs sin(x) and cos(x), of which one is always far from 0, so it is never dormant. Ranks use
    all outputs.
    """
    learner = Learner(spec_of(case), [0, 3], CPU)
    generator = torch.Generator().manual_seed(0)
    params = {name: torch.randn(w.shape, generator=generator) * 0.2 for name, w in learner.params.items()}
    layer = learner.net.hidden_layers[-1]
    norm = learner.net.norm_of(len(learner.net.hidden_layers) - 1)
    for name in [f"{layer.name}.weight", f"{layer.name}.bias", *([f"{norm}.weight", f"{norm}.bias"] if norm else [])]:
        params[name][0, 2] = 0  # unit 2 of the first seed is 0 for any input
    inputs = torch.randn(2, 5, 3, 32, 32, generator=generator)
    hidden = [one.activation for one in learner.net(params, inputs).hidden]
    given = MetricInputs(
        forward=learner.net.__call__,
        loss=learner.problem.loss,
        params=params,
        batch_scores=[],
        batch_losses=[],
        inputs=inputs,
        targets=torch.zeros(2, 5, dtype=torch.long),
        test_inputs=None,
        test_targets=None,
        by_unit=learner.net.by_unit,
        batch_size=5,
        num_curvature_images=0,
        generators=[],
    )
    copies = 2 if case["activation"] in ("crelu", "fourier") else 1
    assert given.features.shape[2] == copies * layer.outputs
    assert [h.shape[2] for h in hidden] == [copies * one.outputs for one in learner.net.hidden_layers]
    assert [h.shape[2] for h in given.hidden] == [one.outputs for one in learner.net.hidden_layers]
    of_units = [h.abs().unflatten(2, (copies, -1)).sum(2) for h in hidden]
    means = torch.cat([h.mean((1, *range(3, h.dim()))) for h in of_units], 1)
    torch.testing.assert_close(compute(METRICS["dormant_proportion"], given), (means < 0.01).float().mean(1))
    torch.testing.assert_close(compute(METRICS["dead_proportion"], given), (means == 0).float().mean(1))
    if case["activation"] == "fourier":
        assert compute(METRICS["tau_dormant_proportion"], given).tolist() == [0, 0]
        assert compute(METRICS["dead_proportion"], given).tolist() == [0, 0]
    if case["activation"] == "crelu":
        assert compute(METRICS["dead_proportion"], given).tolist() == pytest.approx([1 / means.shape[1], 0])
