"""The rules of `lop_engine.testing`: valid components pass, and a component that breaks one is named with it."""

from pathlib import Path

import pytest

from lop_engine.errors import RuleError
from lop_engine.testing import check_file
from tests.experiment.test_own_files import own_registries

__all__ = ["own_registries"]


HEAD = """
import time

import torch

from lop_engine.experiment import components as describe
from lop_engine.generators import seed_generators
from lop_engine.methods.method import Method
from lop_engine.networks.layers import NO_BUFFERS, Activations, Hidden, Layer, Network, linear
from lop_engine.problems.losses import squared_error
from lop_engine.problems.problem import Problem, Task
from lop_engine.streams import Stream, name_counter
"""


METHOD = """
class Mine(Method):
    def __init__(self, setup):
        super().__init__(setup)
        self.count_S = torch.zeros(len(setup.seeds))

    {hooks}


METHOD = describe.Method(name="mine", title="mine", code=Mine)
"""


UPDATE = "def after_update(self, params, hidden, grads, batch, forward):\n        "


STATE = "def state(self):\n        return {'count': self.count_S}\n\n    "


#: Hooks of invalid methods, and the text of the error, by what is wrong.
METHODS = {
    "state without a seed axis": (
        "def state(self):\n        return {'count': torch.zeros(5)}",
        'state without a seed axis: "count" has shape (5,) with 3 seeds and (5,) with one',
    ),
    "state that is a number": ("def state(self):\n        return {'count': 3}", 'seed axis: "count" is int'),
    "state made in a step": (
        "def state(self):\n        return dict(vars(self).get('kept', {}))\n\n    "
        f"{UPDATE}self.kept = {{'a': self.count_S}}",
        'the state has "a" only after a step',
    ),
    "state that is a copy": (
        "def state(self):\n        return {'count': self.count_S.clone()}",
        'state() copies "count"',
    ),
    "a value": (
        f"{UPDATE}if hidden[0].activation.mean().item() > 9:\n            pass",
        "asks for a tensor's value, for which a GPU has to wait "
        "(line 20, in after_update: if hidden[0].activation.mean().item() > 9:)",
    ),
    "a condition": (f"{UPDATE}if (self.count_S > 3).any():\n            pass", "asks for a tensor's value"),
    "a list": (f"{UPDATE}self.count_S.tolist()", "asks for a tensor's value"),
    "numpy": (f"{UPDATE}hidden[0].activation.numpy()", "asks for a tensor's value"),
    "a selection": (
        f"{UPDATE}dead = hidden[0].activation[hidden[0].activation <= 0]",
        "a shape depends on the values of a tensor (line 20",
    ),
    "a new tensor": (
        f"{STATE}{UPDATE}self.count_S = self.count_S + 1",
        'a step puts a new tensor in place of "count"',
    ),
    "new weights": (
        f"{UPDATE}params['fc1.bias'] = params['fc1.bias'] * 0.9",
        'a step puts a new tensor in place of "params.fc1.bias"',
    ),
    "a growing tensor": (
        f"{STATE}{UPDATE}self.count_S = torch.stack([self.count_S] * 2, 1)",
        'changes the shape of "count" from (3,) to (3, 2',
    ),
    "a lost mean": (f"{UPDATE}self.count_S.add_(1)", "the state is incomplete: self.count_S differs after a resume"),
    "a lost counter": (
        "steps = 0\n\n    " + UPDATE + "self.steps += 1",
        "the state is incomplete: self.steps differs after a resume",
    ),
    "a lost start": (
        "def init(self, params):\n        self.params = params\n\n    def start_task(self, task):\n        "
        "self.start = {name: weight.clone() for name, weight in self.params.items()}",
        "the state is incomplete: self.start",
    ),
    "a generator that goes on": (
        "def init(self, params):\n        self.generator = torch.Generator().manual_seed(1)\n\n    def draw(self):\n"
        "        torch.rand(1, generator=self.generator)",
        "the state is incomplete: self.generator",
    ),
    "torch's own numbers": (
        f"{UPDATE}params['fc1.bias'].add_(torch.randn_like(params['fc1.bias']))",
        "training twice from the same seeds gives different numbers",
    ),
    "a mean over seeds": (
        f"{UPDATE}params['fc1.bias'].sub_(0.1 * params['fc1.bias'].mean(0))",
        'seeds mix: "',
    ),
    "a sum over weights": (
        "def penalty(self, params):\n        return sum(weight.square().sum() for weight in params.values())",
        "penalty has shape () with 3 seeds",
    ),
    "numbers by place": (
        "def start_epoch(self, task, epoch):\n        self.numbers = torch.rand(3, generator=torch.Generator()"
        ".manual_seed(epoch))\n\n    " + UPDATE + "params['fc1.bias'].add_(self.numbers[: len(self.count_S), None])",
        "of a seed differs between a stack and alone",
    ),
    "a Python number that changes": (
        f"{UPDATE}params['fc1.bias'].add_(0.1 * self.step)",
        'a step changes "params.fc1.bias" otherwise when its operations are repeated',
    ),
    "numbers in a new tensor": (
        "def start_epoch(self, task, epoch):\n        self.generators = seed_generators(self.setup.seeds, "
        "Stream.COMPONENT, task, epoch, device=self.setup.device)\n\n    def draw(self):\n        "
        "self.drawn = torch.stack([torch.rand(1, generator=one) for one in self.generators])\n\n    "
        f"{UPDATE}params['fc1.bias'].add_(self.drawn)",
        "otherwise when its operations are repeated",
    ),
    "a rising loss": (
        "def update(self, params, grads, hidden):\n        for name, weight in params.items():\n            "
        "weight.add_(grads[name], alpha=0.01)",
        "the loss does not fall on an easy task",
    ),
    "a mistake": (f"{UPDATE}hiden[0]", "NameError: name 'hiden' is not defined (line 20, in after_update: hiden[0])"),
}


def refused(text: str, **settings) -> str:
    """Return the error message for a file with this text."""
    Path("mine.py").write_text(HEAD + text)
    with pytest.raises(RuleError) as error:
        check_file("mine.py", **settings)
    output = str(error.value)
    assert "\n" not in output
    assert output.startswith(str(Path("mine.py").resolve()))
    return output


@pytest.mark.parametrize("wrong", METHODS)
@pytest.mark.long
def test_a_method_that_breaks_a_rule_is_named_with_the_rule(wrong):
    hooks, expected = METHODS[wrong]
    message = refused(METHOD.format(hooks=hooks), network="mlp")
    assert "mine.py: Mine: " in message
    assert expected in message
    assert "; " in message.partition(expected)[2], "the message gives no advice"


MIXING = """
from pydantic import Field
from lop_engine.experiment.fields import Fields, PerRun
from lop_engine.methods.runs import like


class Keys(Fields):
    pull: PerRun = Field(0.1, ge=0)


class Mine(Method):
    def penalty(self, params):
        penalty_S = sum(weight.square().flatten(1).sum(1) for weight in params.values())
        return penalty_S * {pull}


METHOD = describe.Method(name="mine", title="mine", fields=Keys, code=Mine, mixes_settings={mixes})
"""


OF_FIRST = "self.setup.runs.specs[0].own(Keys).pull"


OF_EACH = "like(self.setup.own(Keys).pull, penalty_S)"


@pytest.mark.parametrize(
    ("pull", "expected"),
    [
        (OF_FIRST, "depends on the pull of the other runs in the stack"),
        (f"({OF_EACH} * torch.ones(len(penalty_S))).mean()", "depends on the pull of the other runs in the stack"),
        ("self.setup.spec.pull", "the runs of this stack differ in key pull; read it with Setup.own"),
    ],
)
@pytest.mark.long
def test_a_method_that_uses_one_run_s_number_for_all_runs_is_named_with_the_key(pull, expected):
    message = refused(MIXING.format(pull=pull, mixes=True), network="mlp")
    assert "mine.py: Mine: " in message
    assert expected in message


@pytest.mark.parametrize(("pull", "mixes"), [(OF_EACH, True), (OF_FIRST, False), ("self.setup.spec.pull", False)])
@pytest.mark.long
def test_mixing_methods_must_read_each_run_s_number_and_others_need_not(pull, mixes):
    Path("mine.py").write_text(HEAD + MIXING.format(pull=pull, mixes=mixes))
    check_file("mine.py", network="mlp")


NETWORK = """
class Mine(Network):
    def __init__(self, spec, input_shape, num_outputs):
        self.layers = (Layer("fc1", 3072, 6), Layer("fc2", 6, num_outputs))
        self.weight_bounds = self.bias_bounds = {{"fc1": 0.02, "fc2": 0.4}}

    def __call__(self, params, inputs_SB, buffers=NO_BUFFERS, training=False):
        h = torch.relu(linear(params, self.layers[0], inputs_SB.flatten(2)))
        {body}
        return Activations(linear(params, self.layers[1], h), [Hidden(h)])

    {more}


UNITS = frozenset({{"hidden units"}})
NETWORK = describe.Network(name="mine", title="mine", code=Mine, num_hidden={hidden}, provides=UNITS)
"""


BUFFER = "def buffers(self, num_seeds, device, dtype):\n        return {'mean': torch.zeros(num_seeds, 6)}"


NETWORKS = {
    "a mean over seeds": ({"body": "h = h - h.mean(0)"}, 'seeds mix: "'),
    "another number of hidden layers": (
        {"hidden": "2"},
        "its numbers of hidden layers differ: num_hidden 2, layers[:-1] 1",
    ),
    "a mean that is lost": ({"body": "self.mean = h.detach().mean() + getattr(self, 'mean', 0)"}, "self.mean differs"),
    "a buffer that measuring changes": (
        {"body": "buffers['mean'].lerp_(h.detach().mean(1), 0.5)", "more": BUFFER},
        'measuring the network changes "buffers.mean"',
    ),
    "a value": ({"body": "float(h.detach().sum())"}, "asks for a tensor's value"),
    "weights of the stack": (
        {
            "more": "def init(self, seeds, device, dtype=torch.float32):\n"
            "        g = torch.Generator().manual_seed(1)\n"
            "        return {f'{one.name}.{kind}': torch.randn(len(seeds), *shape, generator=g) for one in self.layers "
            "for kind, shape in (('weight', one.weight_shape), ('bias', (one.outputs,)))}"
        },
        'seeds mix: the initial "fc1.weight" of a seed differs in a stack',
    ),
    "outputs of another shape": (
        {"body": "return Activations(h, [Hidden(h)])"},
        "outputs have shape (3, 4, 6), not (3, 4, 2)",
    ),
}


@pytest.mark.parametrize("wrong", NETWORKS)
@pytest.mark.long
def test_a_network_that_breaks_a_rule_is_named_with_the_rule(wrong):
    changes, expected = NETWORKS[wrong]
    message = refused(NETWORK.format(**{"body": "", "more": "", "hidden": "1"} | changes))
    assert "mine.py: Mine: " in message
    assert expected in message


PROBLEM = """
class Mine(Problem):
    input_shape, num_outputs, shuffles = (6,), 1, False

    def loss(self, outputs_SBO, targets_SB):
        return {loss}

    def tasks(self, seeds, device, start=0, dtype=torch.float32):
        for index in range({first}, self.spec.num_tasks{last}):
            generators = seed_generators({seeds}, Stream.COMPONENT, {counter}, device=device)
            x = torch.stack([torch.randn({count}, 6, generator=one) for one in generators]){more}
            yield Task([{{}} for _ in seeds], x, x.sum(2, keepdim=True))


PROBLEM = describe.Problem(
    name="mine", title="mine", code=Mine, headline="train_loss", network="mlp", metrics=("train_loss",),
    examples_per_task=20, defaults={{"num_showings": 1, "mini_batch_size": 5}},
)
"""


RIGHT = {"loss": "squared_error(outputs_SBO, targets_SB)", "first": "start", "last": "", "seeds": "seeds", "more": ""}


RIGHT |= {"counter": "index", "count": "20"}


PROBLEMS = {
    "a loss of all seeds": ({"loss": "((outputs_SBO - targets_SB) ** 2).mean()"}, "loss returns () with 2 seeds"),
    "examples that it did not promise": ({"count": "19"}, "the inputs of task 0 have shape (2, 19, 6), not (2, 20, 6)"),
    "tasks from the first on": ({"first": "0"}, "task 1 differs in a run that begins at it"),
    "one task too few": ({"last": " - 1"}, "there are fewer tasks than num_tasks (3)"),
    "numbers by place": (
        {"seeds": "range(len(seeds))"},
        "seeds mix: task 0 of a seed differs between a stack and alone",
    ),
    "numbers of the clock": ({"counter": "index, time.time_ns()"}, "task 0 has other numbers when it is made again"),
    "a mean over seeds": ({"more": "\n            x = x - x.mean(0)"}, "seeds mix: task 0"),
    "no task": ({"last": " - 3"}, "there are no tasks"),
    "a loss that mixes seeds": (
        {"loss": "squared_error(outputs_SBO - outputs_SBO.mean(0), targets_SB)"},
        'seeds mix: "',
    ),
}


@pytest.mark.parametrize("wrong", PROBLEMS)
@pytest.mark.long
def test_a_problem_that_breaks_a_rule_is_named_with_the_rule(wrong):
    changes, expected = PROBLEMS[wrong]
    message = refused(PROBLEM.format(**RIGHT | changes))
    assert "mine.py: Mine: " in message
    assert expected in message


METRIC = """
def mine(params):
    weights = torch.stack([weight.flatten(1).norm(dim=1) for weight in params.values()])
    return {value}


METRIC = describe.Metric(name="mine", title="mine", takes=("params",), code=mine)
"""


METRICS = {
    "a number": ("weights.mean().item()", "it returns float with 3 seeds"),
    "a number of all seeds": ("weights.mean()", "it returns a tensor of shape () with 3 seeds"),
    "a mean over seeds": ("weights.mean(0) - weights.mean()", "seeds mix: the value of a seed depends on a neighbour"),
    "a change": ("params['fc1.bias'].add_(1).sum(1)", "gives different numbers"),
    "chance": ("weights.mean(0) + torch.rand(())", "measuring the same networks twice gives different numbers"),
}


@pytest.mark.parametrize("wrong", METRICS)
@pytest.mark.long
def test_a_metric_that_breaks_a_rule_is_named_with_the_rule(wrong):
    value, expected = METRICS[wrong]
    message = refused(METRIC.format(value=value))
    assert "mine.py: mine: " in message
    assert expected in message


@pytest.mark.parametrize(
    "text", [METHOD.format(hooks="pass"), NETWORK.format(body="", more="", hidden="1"), PROBLEM.format(**RIGHT)]
)
@pytest.mark.long
def test_valid_components_pass_the_rules(text):
    Path("mine.py").write_text(HEAD + text)
    check_file("mine.py") if "Method" not in text else check_file("mine.py", network="mlp")
