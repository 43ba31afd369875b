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
`opt` the optimiser; `metrics` lists [the metrics to record](metrics.md). Each key belongs to one of these components,
or to every experiment. `lop methods`, `lop networks` and `lop problems` print the same lists on the command line
(`--json` for programs), and `lop methods cbp` describes one method. [The leaderboard](leaderboard.md) compares all
methods on one small problem.

- A key of a component that the file does not use is an error, which names the component: `redo_scores belongs to agent
  redo; this file's agent is cbp`. Files in the reference's format (with `num_runs`, `data_dir`, ...) may contain keys
  of the reference that have no effect; these are ignored with a note. A key given with `--set` must have an effect.
- A list is a sweep. `"agent": ["bp", "cbp"]`, or a list of networks or optimisers, is a sweep over components: each key
  applies to the components that have it. If this makes settings equal, they are trained once.
- If the file has no `problem`, the problem is Continual ImageNet, or the problem of the reference whose keys the file
  has.
- The reference has other names for some methods: `bp` with weight decay is `l2`, `bp` or `l2` with noise is `snp`,
  `cbp` with `net_type` 2 is `cbp2`. Tables, figures and filters (`method:l2`) use the names of this page.
- A key that begins with `_` is a comment.

The equations of each method are shown twice: typeset, and in the plain text that `lop methods NAME` prints. In the
typeset equations, w are the weights, g is the gradient of the loss L, η the step size, λ the weight decay unless it is
defined otherwise, h a unit's activation (a bar is a mean over the batch), and N the units of a layer. A hat marks a
running mean with bias correction, as in Adam.

This page is generated from the descriptions in `lop_engine/experiment/`; a test compares the two.
"""


UNITS = """\
### What a hidden unit is

A unit is a channel of a convolution or an output of a linear layer. Its incoming weights are its row of the layer's
weight matrix; its bias belongs to it too. Its outgoing weights are the columns of the next layer's weight matrix that
its outputs feed. These are the units that continual backprop, ReDo, SNR and ReGraMa reset, and that the metrics of
dormant and dead units count.

- With `crelu` and `fourier` a unit has two outputs, which are reset together. Its activation is measured as the sum of
  both magnitudes. With `crelu` this is |x|, so a unit is dormant only if its input is near 0. With `fourier` it is
  |sin x| + |cos x|, which is at least 1, so units are never dormant. Ranks are computed from all outputs.
- With `layer_norm` a unit that is reset gets scale 1 and shift 0. The slopes of `prelu` belong to layers, so resets do
  not change them.
- With `tanh`, `leaky_relu` and other activations that can be negative, |h| is measured instead of h.
- For `snr` a unit fires if one of its outputs is above 0. With most activations this means that its input is above 0;
  with `crelu` that its input is not 0, with `fourier` that sin x or cos x is above 0; with `sigmoid` it always fires.
"""

PORTS = """\
## How public implementations differ from their papers and from lop

Some public implementations do not do what their papers say. Results obtained with them are not those of the published
method. We read and ran the code at the commits given here.

- **ReDo** in FIRE's repository (isaac7778/FIRE c37a0ac): outgoing weights and moments are set to zero only in copies,
  so dormant units get new incoming weights and biases but keep everything else. Adam's step counts are reset, those of
  whole weight tensors. The last hidden layer is never reset. Its results are those of random incoming weights, not of
  ReDo.
- **ReDo** in Hare & Tortoise's repository (dojeon-ai/Hare-Tortoise 4ec5ebb): the new weights are written to copies too,
  so the reset has no effect. Its results are those of plain backprop.
- **ReDo** of its authors (google/dopamine 5873f54): between the last convolution and the first linear layer, the
  outgoing weights of other units become zero. `redo` sets those of the dormant units to zero.
- **ReDo** in skumar9876/L2_Init 3f86d26 restores initial weights (`redo_kumar`). In the authors' runs, units are chosen
  by their activations in the last evaluation, on the test images of the next task; in lop by those in the last training
  step.
- **SNR** in FIRE's repository: outgoing weights and moments do not change, as in its ReDo. By default ages grow by
  up to 512 in each step, whatever the batch size; the thresholds are updated before the resets of a step. `snr` follows
  ajozefiak/SelfNormalizedResets 8b84f0c, in which ages count examples.
- **ReGraMa** (LucMc/continual-learning 6fc2af3): only moments in fields named mu and nu are reset, so SGD's momentum is
  kept. `regrama` resets it; with `"regrama_optimizer_state": "keep"` it does not.
- **UPGD** (mohmdelsayed/upgd b75e90a): the code in the README has twice the step size of the code of the experiments.
  `upgd` follows the code of the experiments; `adaupgd` has the factor 2, as in the authors' code.
- **Muon**: torch.optim.Muon only takes matrices, so convolutions train with another optimiser (`muon_variant`).
- **Hare & Tortoise** (dojeon-ai/Hare-Tortoise 4ec5ebb): the training loop never sets gradients to zero, so each update
  uses the sum of all gradients so far, clipped to norm 0.5. After a reset to the slow network both networks share
  memory, so the next update moves the slow network by a full step of the fast one. `hare_tortoise` is the algorithm of
  the paper.
- **DASH** in FIRE's repository (isaac7778/FIRE c37a0ac): if the weight of a convolution is laid out channels-last, a
  copy is shrunk and the weight does not change. With the usual layout the weights equal those of the authors' code.
- **Shrink and perturb** is the name of three methods: noise and weight decay in every step (`snp`, Dohare et al.),
  adding a new network in every step (`snp_kumar`), and a change at task boundaries (`snp_task`), for which Ash & Adams
  draw new weights and FIRE uses the initial ones.
- **Spectral regularisation**: we found no public implementation. lop uses the formula of the paper.
- DASH, FIRE and shrink and perturb were published for networks without new heads. With `new_heads`, lop's versions
  leave the new outputs at zero.
"""

STATE = """\
## What a reset of units does to the optimiser's state

| method | after the reset: running means (SGD's momentum, `m` and `v` of Adam, ...) | Adam's step counts |
|---|---|---|
| `cbp`, `cbp2` | 0 for incoming weights, bias and outgoing weights; SGD keeps its momentum | 0 for the same |
| `redo` | 0 for incoming and outgoing weights (`redo_optimizer_state`) | kept |
| `regrama` | 0 for incoming weights, bias and outgoing weights (`regrama_optimizer_state`) | kept |
| `snr` | 0 for incoming weights, bias and outgoing weights; SGD keeps its momentum (`snr_optimizer_state`) | kept |
| `redo_kumar` | kept | kept |

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
        facts.append("It has its own update rule, so `opt` and its keys do not apply.")
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
