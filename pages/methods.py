"""docs/methods.md, from the components' descriptions: ``python -m pages.methods`` writes it."""

from collections.abc import Iterable
from textwrap import indent

from lop_engine.experiment.catalogue import Key, bibtex, keys_of, reference
from lop_engine.experiment.components import Component, Method
from lop_engine.experiment.parts import Experiment
from lop_engine.experiment.registry import METHODS, NETWORKS, OPTIMIZERS, PROBLEMS
from pages import DOCS
from pages.equations import METHODS as METHOD_EQUATIONS
from pages.equations import block

INTRODUCTION = """\
# Methods, networks, problems and their keys

An experiment file is one flat JSON object. `agent` names the method, `network` the network, `problem` the problem and
`opt` the optimiser; `metrics` lists [what is recorded](metrics.md). Each key belongs to one of these parts, or to every
experiment. `lop methods`, `lop networks`, `lop problems` and `lop metrics` list the same on the command line, with
`--json` for programs; `lop methods cbp` describes one. [The leaderboard](leaderboard.md) compares all methods on one
small problem.

- A key of a part that the file does not use is an error that names the owner: `redo_scores belongs to agent redo; this
  file's agent is cbp`. Files like the reference's (with `num_runs`, `data_dir`, ...) may hold the reference's keys
  without effect; these are left out with a note. A key given with `--set` must have an effect.
- A list is a sweep. `"agent": ["bp", "cbp"]`, and a list of networks or optimisers, sweeps over components: each key
  applies to the components that have it. Settings that then do not differ are trained once.
- Without `problem` it is Continual ImageNet, or the problem of the reference whose keys the file has.
- The reference has other names for some methods: `bp` with weight decay is `l2`, `bp` or `l2` with noise is `snp`,
  `cbp` with `net_type` 2 is `cbp2`. Tables, figures and filters (`method:l2`) use the names here.
- A key that begins with `_` is a comment.

Each method has its equations twice: typeset, and in the plain text that `lop methods NAME` prints. In the typeset ones
w are weights, g is the gradient of the loss L, η the step size, λ the weight decay unless it is given another meaning,
h a unit's activation (a bar is a mean over the batch), and N the units of a layer. A hat marks a running mean that is
corrected for its start at 0.

This page is made from the descriptions in `lop_engine/experiment/`; a test compares the two.
"""


UNITS = """\
### What a hidden unit is

A unit is a row of a layer's weight with its bias: a channel of a convolution, an output of a linear layer. Its incoming
weights are that row; its outgoing weights are the columns of the layer above that its outputs feed. Continual backprop,
ReDo, SNR and ReGraMa choose among units, and dormancy counts them.

- With `crelu` and `fourier` a unit has two outputs. They start over together, and what is measured of the unit is the
  sum of both magnitudes. With `crelu` that is |x|, so that a unit is dormant only if its input is near 0. With
  `fourier` |sin x| + |cos x| is at least 1, so that no unit is ever dormant. Ranks are those of all outputs.
- With `layer_norm` a unit that starts over gets scale 1 and shift 0. The slopes of `prelu` belong to layers and stay.
- With `tanh`, `leaky_relu` and others that can be negative, magnitudes are measured: |h| in place of h.
- For `snr` a unit fires if one of its outputs is above 0: if its input is, but for `crelu` (unless the input is 0),
  `fourier` (if sin x or cos x is above 0) and `sigmoid` (always).
"""

PORTS = """\
## What a number from a public implementation means

Some public implementations do not do what their papers say. The commits are those that were read and run.

- **ReDo** in FIRE's repository (isaac7778/FIRE c37a0ac): zeroing outgoing weights and moments changes copies, so that
  dormant units get new incoming weights and biases and keep all else. Only Adam's step counts are reset, of whole
  weights. The last hidden layer is never reset. A number of it is one of random incoming weights, not of ReDo.
- **ReDo** in Hare & Tortoise's repository (dojeon-ai/Hare-Tortoise 4ec5ebb): the new weights are written to copies,
  too, so that the reset as a whole does nothing. A number of it is one of plain backprop.
- **ReDo** of its authors (google/dopamine 5873f54): between the last convolution and the first linear layer the
  outgoing weights that become zero are those of other units. `redo` zeroes the dormant units' own.
- **ReDo** in skumar9876/L2_Init 3f86d26 restores initial weights (`redo_kumar`). In the authors' runs the activations
  that decide are those of the last evaluation, on the test images of the next task. Here they are those of the last
  training step.
- **SNR** in FIRE's repository: outgoing weights and moments stay as they are, as with its ReDo. By default ages grow by
  up to 512 in each step, whatever the batch; the thresholds are updated before the resets of a step. `snr` follows
  ajozefiak/SelfNormalizedResets 8b84f0c, which counts a batch's examples.
- **ReGraMa** (LucMc/continual-learning 6fc2af3): moments are reset only in fields named mu and nu, so SGD's momentum is
  not. Here it is; `regrama_optimizer_state` keep leaves it.
- **UPGD** (mohmdelsayed/upgd b75e90a): the README's code has twice the step size of the experiments' code. `upgd` is
  the latter; `adaupgd` has the factor 2, as in the authors' code.
- **Muon**: torch.optim.Muon takes matrices alone, so that convolutions train with another optimiser (`muon_variant`).
- **Hare & Tortoise** (dojeon-ai/Hare-Tortoise 4ec5ebb): the training loop never sets gradients to zero, so that each
  update uses the sum of all gradients so far, clipped to norm 0.5. After a return both networks share memory, so that
  the next update moves the slow network by a full step of the fast one. `hare_tortoise` is the paper's algorithm.
- **DASH** in FIRE's repository (isaac7778/FIRE c37a0ac): if the weight of a convolution is laid out channels-last, it
  shrinks a copy, and the weight stays as it is. With the usual layout the weights equal those of the authors' code.
- **Shrink and perturb** is three methods by one name: noise and weight decay in every step (`snp`, Dohare et al.), a
  fresh network in every step (`snp_kumar`), and a change at task boundaries (`snp_task`), for which Ash & Adams draw
  new weights and FIRE keeps the initial ones.
- **Spectral regularisation**: no public implementation was found. The formula is the paper's.
- DASH, FIRE and shrink and perturb were published without new heads. With `new_heads`, new outputs stay zero here.
"""

STATE = """\
## What a reset of units does to the optimiser's state

| method | running means (SGD's momentum, `m` and `v` of Adam, ...) | Adam's step counts |
|---|---|---|
| `cbp`, `cbp2` | 0 for incoming weights, bias and outgoing weights; SGD keeps its momentum | 0 for the same |
| `redo` | 0 for incoming and outgoing weights (`redo_optimizer_state`) | stay |
| `regrama` | 0 for incoming weights, bias and outgoing weights (`regrama_optimizer_state`) | stay |
| `snr` | 0 for incoming weights, bias and outgoing weights; SGD keeps its momentum (`snr_optimizer_state`) | stay |
| `redo_kumar` | stay | stay |

Running means are: `sgd` the momentum; `rmsprop` the mean square and the momentum; `adam` and `adamW` both moments;
`muon` its momentum for hidden weights, and both of AdamW's moments for biases and the output layer.
"""

#: Defaults of common keys that depend on the chosen components.
DEFAULTS = {"problem": "continual_imagenet", "network": "the problem's", "metrics": "the problem's"}


def build() -> str:
    """Return the whole page."""
    parts = [
        INTRODUCTION,
        "## Keys of every experiment\n",
        _table(keys_of(Experiment)),
        *_section("Methods", METHODS.built_in, METHODS.values()),
        *_section("Optimisers", OPTIMIZERS.built_in, OPTIMIZERS.values()),
        STATE,
        *_section("Networks", NETWORKS.built_in, NETWORKS.values()),
        UNITS,
        *_section("Problems", PROBLEMS.built_in, PROBLEMS.values()),
        PORTS,
    ]
    return "\n".join(parts)


def _section(heading: str, names: Iterable[str], components: Iterable[Component]) -> list[str]:
    chosen = set(names)
    return [f"## {heading}\n", *(_describe(one) for one in components if one.name in chosen)]


def _describe(one: Component) -> str:
    facts = [one.sentence]
    if one.needs:
        facts.append(f"Needs {' and '.join(sorted(one.needs))}.")
    if isinstance(one, Method) and one.has_own_update:
        facts.append("It has its own update rule: `opt` and its keys do not apply.")
    if isinstance(one, Method) and one.network:
        facts.append(f"Trains the network `{one.network}`.")
    if bibtex(one.source):
        facts.append(f"Source: {reference(one.source)}.")
    keys = keys_of(one.fields)
    parts = [f"### {one.name}: {one.title}\n", " ".join(facts), ""]
    if isinstance(one, Method) and one.equation:
        parts += [block(METHOD_EQUATIONS[one.name]), indent(one.equation, "    "), ""]
    return "\n".join([*parts, *([_table(keys)] if keys else [])])


def _table(keys: Iterable[Key]) -> str:
    rows = [f"| `{key.name}` | {DEFAULTS.get(key.name, key.by_default)} | {key.takes} | {key.help} |" for key in keys]
    return "\n".join(["| key | default | takes | what it is |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    (DOCS / "methods.md").write_text(build())
