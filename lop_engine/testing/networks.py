"""Rules of a network's layers, weights and activations.

Dimensions: S seeds, B batch, O outputs, F units.
"""

import torch

from lop_engine.testing.course import batches, copied, first_difference, learner_of, same, tasks_of
from lop_engine.testing.subject import Subject

SEEDS = (4, 7, 9)
ADVICE = "draw initial weights from each seed's own generator, as Network.init does"


def layers_are_as_described(subject: Subject) -> None:
    """Check that weights, outputs and hidden activations have the shapes of the network. Raises RuleError."""
    learner = learner_of(subject.spec, SEEDS)
    net = learner.net
    inputs, _ = next(batches(subject.spec, tasks_of(subject.spec, SEEDS)[0]))
    activations = net(learner.params, inputs, learner.buffers)
    expected = (*inputs.shape[:2], learner.problem.num_outputs)
    if tuple(activations.outputs_SBO.shape) != expected:
        raise subject.broken(
            f"outputs have shape {tuple(activations.outputs_SBO.shape)}, not {expected}",
            "return (seeds, batch, outputs)",
        )
    counts = {
        "num_hidden": subject.spec.num_hidden,
        "layers[:-1]": len(net.hidden_layers),
        "hidden activations": len(activations.hidden),
    }
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise subject.broken(f"its numbers of hidden layers differ: {listed}", "return a Hidden for each hidden layer")
    if activations.hidden and "hidden units" not in subject.spec.parts.network.provides:
        raise subject.broken("it has hidden units and does not say so", 'add provides=frozenset({"hidden units"})')
    for layer, above, hidden in zip(net.hidden_layers, net.layers[1:], activations.hidden, strict=True):
        shape = (*inputs.shape[:2], layer.outputs * above.copies)
        if tuple(hidden.activation.shape[:3]) != shape:
            raise subject.broken(
                f"activations of {layer.name} have shape {tuple(hidden.activation.shape)}, not {shape}",
                "return (seeds, batch, units)",
            )


def seeds_start_apart(subject: Subject) -> None:
    """Check that seeds have different initial weights, each the same alone and in a stack. Raises RuleError."""
    stack, alone = learner_of(subject.spec, SEEDS).params, learner_of(subject.spec, SEEDS[1:2]).params
    for name, weight in stack.items():
        if not same(weight[1:2], alone[name]):
            raise subject.broken(f'seeds mix: the initial "{name}" of a seed differs in a stack', ADVICE)
    if all(same(weight[0], weight[1]) for weight in stack.values()):
        raise subject.broken("all seeds start from the same weights", ADVICE)


def evaluation_changes_nothing(subject: Subject) -> None:
    """Check that a forward pass outside of training changes no buffers or weights. Raises RuleError."""
    learner = learner_of(subject.spec, SEEDS)
    inputs, _ = next(batches(subject.spec, tasks_of(subject.spec, SEEDS)[0]))
    before = copied(learner.state())
    with torch.no_grad():
        _ = learner.forward(learner.params, inputs)
    name = first_difference(before, learner.state())
    if name:
        raise subject.broken(f'measuring the network changes "{name}"', "change buffers only if `training` is true")
