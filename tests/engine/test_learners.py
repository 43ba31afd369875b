"""The effect of each method on the weights, and the independence of seeds."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.experiment.methods_of_units import Utility
from lop_engine.experiment.spec import Spec
from lop_engine.methods.method import Batch, Method
from lop_engine.methods.optimizers import Adam
from lop_engine.methods.replacement import least_useful, lowest_first
from lop_engine.methods.step_numbers import StepNumbers
from lop_engine.networks import Activations, Hidden, Params
from lop_engine.training.learner import Learner
from lop_engine.training.loop import batch_order
from tests.methods import with_optimizers

CPU = torch.device("cpu")

METHODS = with_optimizers()


def make_spec(method="bp", **changes) -> Spec:
    base = {"step_size": 0.01, "num_tasks": 1, "num_showings": 1, "width": 0.125}
    return Spec(**(base | METHODS[method] | changes))


def batches(seed: int, num: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return mini-batches of one seed: images (20, 3, 32, 32) and labels (20,)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(num):
        labels = torch.randint(0, 2, (20,), generator=generator)
        images = torch.randn(20, 3, 32, 32, generator=generator)
        images[:, 0] += (labels * 2.0 - 1)[:, None, None]
        drawn.append((images, labels))
    return drawn


def train(learner, num_steps: int) -> torch.Tensor:
    """Train each seed on its own batches; return the losses, (steps, S)."""
    streams = [batches(seed, num_steps) for seed in learner.seeds]
    losses = []
    for step in zip(*streams, strict=True):
        if len(losses) % 10 == 0:
            learner.start_epoch(0, len(losses) // 10)
        images, labels = (torch.stack(part) for part in zip(*step, strict=True))
        losses.append(learner.step(images, labels).loss_S)
    return torch.stack(losses)


def test_a_seed_has_the_same_batches_alone_and_in_a_stack():
    assert torch.equal(batch_order([3, 7], 50, 2, 1, CPU)[1], batch_order([7], 50, 2, 1, CPU)[0])


def numbers_of(learner: Learner) -> StepNumbers | None:
    """Return the random numbers that a method draws in its steps, or None if it draws none."""
    return next((one for one in vars(learner.method).values() if isinstance(one, StepNumbers)), None)


DRAWING = [name for name in METHODS if " " not in name and numbers_of(Learner(make_spec(name), [0], CPU))]


@pytest.mark.parametrize("method", DRAWING)
def test_a_seed_draws_the_same_numbers_in_any_stack(method):
    spec = make_spec(method)
    drawn = []
    for seeds in ([7], [2, 7, 5]):
        learner = Learner(spec, seeds, CPU)
        train(learner, 5)
        drawn.append(numbers_of(learner).of_step_SN[seeds.index(7)].clone())
    assert torch.equal(*drawn)
    assert len(torch.unique(drawn[0])) > 1


def test_different_seeds_have_different_initial_weights():
    params = Learner(make_spec(), [0, 1], CPU).params
    assert all(not torch.equal(weight[0], weight[1]) for weight in params.values())


def test_a_new_head_is_zero_and_nothing_else_changes():
    learner = Learner(make_spec("cbp"), [0], CPU)
    train(learner, 5)
    before = {name: tensor.clone() for name, tensor in learner.state().items()}
    learner.reset_head()
    for name, tensor in learner.state().items():
        if name in ("params.fc3.weight", "params.fc3.bias"):
            assert not tensor.any()
        else:
            assert torch.equal(tensor, before[name]), name


def look(method: Method, params: Params, hidden: list[Hidden]) -> None:
    """Run continual backprop after an update, for which it needs only activations."""
    nothing = torch.empty(0)
    method.after_update(params, hidden, {}, Batch(nothing, nothing), lambda inputs: Activations(nothing, []))


@given(
    rate=st.sampled_from([0.001, 0.02, 0.3, 1.0]),
    maturity=st.integers(0, 6),
    accrual=st.sampled_from(["all", "eligible"]),
    utility=st.sampled_from(get_args(Utility)),
)
@settings(max_examples=15, deadline=None)
def test_generate_and_test_keeps_its_rules(rate, maturity, accrual, utility):
    """Immature units are not replaced, budgets balance, and replaced units are re-initialised while all else stays."""
    spec = make_spec(
        "cbp", replacement_rate=rate, maturity_threshold=maturity, budget_accrual=accrual, util_type=utility
    )
    learner = Learner(spec, [0, 1], CPU)
    mechanism, layers = learner.method, learner.method.hidden_layers
    learner.start_epoch(0, 0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        with torch.no_grad():
            hidden = learner.net(learner.params, torch.randn(2, 10, 3, 32, 32, generator=generator)).hidden
        params = {name: weight.detach().clone() for name, weight in learner.params.items()}
        before = {name: weight.clone() for name, weight in params.items()}
        ages = [state.age_SF + 1 for state in mechanism.layer_states]
        budgets = [state.budget_S.clone() for state in mechanism.layer_states]
        mechanism.draw()
        look(mechanism, params, hidden)
        allowed = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in params.items()}
        for i, (layer, following) in enumerate(zip(layers, mechanism.next_layers, strict=True)):
            state = mechanism.layer_states[i]
            replaced_SF = state.age_SF == 0
            assert (ages[i][replaced_SF] > maturity).all()
            eligible_SF = ages[i] > maturity
            accrued_S = rate * (eligible_SF.sum(1) if accrual == "eligible" else layer.outputs) * eligible_SF.any(1)
            torch.testing.assert_close(state.budget_S + replaced_SF.sum(1), budgets[i] + accrued_S)
            assert (replaced_SF.sum(1) <= (budgets[i] + accrued_S + 1e-5).floor()).all()
            assert not state.utility_SF[replaced_SF].any()
            assert not state.mean_activation_SF[replaced_SF].any()
            assert not params[f"{layer.name}.bias"][replaced_SF].any()
            incoming = params[f"{layer.name}.weight"][replaced_SF]
            assert (incoming.abs() <= layer.fan_in**-0.5).all()
            outgoing = params[f"{following.name}.weight"]
            columns = replaced_SF.repeat_interleave(following.positions, 1)
            into_old = torch.ones(outgoing.shape[:2], dtype=torch.bool)
            if i + 1 < len(layers):  # a unit replaced in the same step draws all its incoming weights
                into_old = mechanism.layer_states[i + 1].age_SF != 0
            silenced = columns[:, None, :] & into_old[:, :, None]
            assert not outgoing[silenced].any()
            allowed[f"{layer.name}.weight"][replaced_SF] = True
            allowed[f"{layer.name}.bias"][replaced_SF] = True
            allowed[f"{following.name}.weight"].transpose(1, 2)[columns] = True
        for name, weight in params.items():
            assert torch.equal(weight[~allowed[name]], before[name][~allowed[name]]), name


def plain_utility(util_type, hidden, weight, following, mean, above):
    """Compute the protocol's formula for each unit of one seed's layer, in double precision.

    hidden: activations (batch, outputs, ...); weight: (units, inputs, ...); following: the weight of the layer `above`,
    in whose columns each output has `positions` places; mean: the corrected running mean, (outputs,).
    """
    utilities = []
    for unit in range(len(weight)):
        incoming = np.abs(weight[unit]).mean()
        columns, places, means = [], [], []
        for output in range(unit, above.copies * len(weight), len(weight)):  # with crelu a unit has two outputs
            for place in range(above.positions):
                columns.append(following[:, output * above.positions + place])
                flat = hidden[:, output].reshape(len(hidden), -1)
                places.append(flat[:, place] if above.positions > 1 else flat)
                means.append(mean[output])
        outgoing = [np.abs(column).mean() for column in columns]
        size = [np.abs(place).mean() for place in places]
        change = [np.abs(place - one).mean() for place, one in zip(places, means, strict=True)]
        zero = np.mean([out * moved for out, moved in zip(outgoing, change, strict=True)])
        utilities.append(
            {
                "contribution": np.mean([out * h for out, h in zip(outgoing, size, strict=True)]),
                "zero_contribution": zero,
                "adaptable_contribution": zero / incoming,
                "adaptation": 1 / incoming,
                "weight": np.mean(outgoing),
                "feature_by_input": np.mean(change) / incoming,
            }[util_type]
        )
    return np.array(utilities)


NETWORK_OPTIONS = [
    {},
    {"activation": "crelu"},
    {"activation": "tanh", "layer_norm": True},
    {"network": "mlp", "num_features": 6, "activation": "crelu", "layer_norm": True},
    {"network": "mlp", "num_features": 6, "activation": "tanh"},
]


@pytest.mark.parametrize(
    "options", NETWORK_OPTIONS, ids=lambda options: "-".join(map(str, options.values())) or "default"
)
@pytest.mark.parametrize("util_type", [one for one in get_args(Utility) if one != "random"])
def test_each_utility_equals_its_formula_for_every_unit(util_type, options):
    decay = 0.8
    spec = make_spec("cbp", util_type=util_type, decay_rate=decay, maturity_threshold=1000, **options)
    learner = Learner(spec, [3, 8], CPU)
    mechanism = learner.method
    generator = torch.Generator().manual_seed(1)
    means, utilities = [0.0] * spec.num_hidden, [0.0] * spec.num_hidden
    for step in range(1, 5):
        params = {name: torch.randn(weight.shape, generator=generator) for name, weight in learner.params.items()}
        with torch.no_grad():
            hidden = learner.net(params, torch.randn(2, 6, 3, 32, 32, generator=generator)).hidden
        mechanism.draw()
        look(mechanism, params, hidden)
        for i, (layer, following) in enumerate(zip(mechanism.hidden_layers, mechanism.next_layers, strict=True)):
            h = hidden[i].activation[1].double().numpy()
            weights = [params[f"{one.name}.weight"][1].double().numpy() for one in (layer, following)]
            means[i] = decay * means[i] + (1 - decay) * h.mean((0, *range(2, h.ndim)))
            new = plain_utility(util_type, h, *weights, means[i] / (1 - decay**step), following)
            utilities[i] = decay * utilities[i] + (1 - decay) * new
            ours, rounding = mechanism.layer_states[i].utility_SF[1].numpy(), 1e-6 * utilities[i].max()
            np.testing.assert_allclose(ours, utilities[i], rtol=2e-5, atol=rounding)


@pytest.mark.parametrize("method", ["cbp", "cbp2"])
def test_replacements_of_one_seed_do_not_change_another(method):
    spec = make_spec(method, replacement_rate=0.3, maturity_threshold=0)
    stack, alone = Learner(spec, [4, 9], CPU), Learner(spec, [9], CPU)
    generator = torch.Generator().manual_seed(1)
    for learner in (stack, alone):
        learner.start_epoch(0, 0)
    for _ in range(5):
        images = torch.randn(2, 10, 3, 32, 32, generator=generator)
        with torch.no_grad():
            shapes = [layer.activation.shape for layer in stack.net(stack.params, images).hidden]
            drawn = [torch.rand(shape, generator=generator) for shape in shapes]
            for learner, rows in ((stack, slice(0, 2)), (alone, slice(1, 2))):
                hidden = [Hidden(activation[rows]) for activation in drawn]
                learner.method.draw()
                no_grads = {name: torch.zeros_like(weight) for name, weight in learner.params.items()}
                learner.method.update(learner.params, no_grads, hidden)
                look(learner.method, learner.params, hidden)
    assert any((state.age_SF[0] < 5).any() for state in stack.method.layer_states)
    together = stack.state()
    for name, tensor in alone.state().items():
        torch.testing.assert_close(together[name][1], tensor[0], rtol=1e-6, atol=0, msg=name)


def test_replaced_units_lose_their_adam_state():
    learner = Learner(make_spec("cbp adam", replacement_rate=0.3, maturity_threshold=0), [0], CPU)
    optimizer = learner.optimizer
    assert isinstance(optimizer, Adam)
    train(learner, 4)
    replaced = learner.method.layer_states[3].age_SF[0] == 0
    assert replaced.any()
    for state in (optimizer.first, optimizer.second, optimizer.steps):
        assert not state["fc1.weight"][0][replaced].any()
        assert not state["fc1.bias"][0][replaced].any()
        assert not state["fc2.weight"][0][:, replaced].any()
    assert (optimizer.steps["fc3.bias"] == 4).all()


@pytest.mark.parametrize(("opt", "torch_optimizer"), [("adam", torch.optim.Adam), ("adamW", torch.optim.AdamW)])
def test_adam_agrees_with_torch(opt, torch_optimizer):
    learner = Learner(make_spec(opt=opt, weight_decay=1e-2, momentum=0.0), [0], CPU)
    theirs = {name: weight.detach().clone().requires_grad_() for name, weight in learner.params.items()}
    reference = torch_optimizer(theirs.values(), lr=0.01, weight_decay=1e-2)
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        grads = {name: torch.randn(weight.shape, generator=generator) for name, weight in theirs.items()}
        for name, weight in theirs.items():
            weight.grad = grads[name]
        reference.step()
        learner.optimizer.update(learner.params, grads)
    for name, weight in theirs.items():
        torch.testing.assert_close(learner.params[name].detach(), weight.detach(), rtol=1e-6, atol=1e-7)


def test_a_state_of_another_method_is_refused():
    bp, cbp = Learner(make_spec("bp"), [0], CPU), Learner(make_spec("cbp"), [0], CPU)
    with pytest.raises(ValueError, match="mechanism"):
        cbp.load_state(bp.state())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_least_useful_units_are_eligible_and_no_other_is_less_useful(data):
    """This holds on CPUs, with ties as in the reference, and on other devices, where the lowest index wins."""
    num_units = data.draw(st.integers(1, 40))
    utility_SF = torch.tensor(
        [data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.5]), min_size=num_units, max_size=num_units))]
    )
    eligible_SF = torch.tensor([data.draw(st.lists(st.booleans(), min_size=num_units, max_size=num_units))])
    max_due = data.draw(st.integers(1, num_units))
    num_due = data.draw(st.integers(0, min(max_due, int(eligible_SF.sum()))))
    on_cpu = least_useful(utility_SF, eligible_SF, torch.tensor([num_due]), max_due)
    elsewhere = lowest_first(utility_SF, eligible_SF, torch.tensor([num_due]), max_due)
    for units_SR in (on_cpu, elsewhere):
        assert units_SR.shape == (1, max_due)
        assert len(set(units_SR[0].tolist())) == max_due
        due = units_SR[0, :num_due]
        assert eligible_SF[0, due].all()
        others = eligible_SF[0].index_fill(0, due, False)
        if num_due and others.any():
            assert utility_SF[0, due].max() <= utility_SF[0, others].min()
    due = elsewhere[0, :num_due].tolist()
    assert due == sorted(due, key=lambda unit: (utility_SF[0, unit].item(), unit))


def test_snp_is_l2_and_noise():
    """Over many draws the difference of a step has mean 0 and the stated deviation on every tensor, head included."""
    snp = make_spec("snp", perturb_scale=0.01)
    l2 = snp.with_changes(**{"perturb_scale": 0.0})
    images, labels = batches(0, 1)[0]
    differences = {}
    for draw in range(150):
        learners = [Learner(spec, [5], CPU) for spec in (snp, l2)]
        for learner in learners:
            learner.start_epoch(0, draw)
            learner.step(images[None], labels[None])
        for name in learners[0].params:
            change = learners[0].params[name] - learners[1].params[name]
            differences.setdefault(name, []).append(change.detach().flatten())
    for name, values in differences.items():
        noise = torch.cat(values)
        error = 0.01 / len(noise) ** 0.5
        assert abs(noise.mean()) < 5 * error, name
        assert noise.std().item() == pytest.approx(0.01, abs=5 * error), name
