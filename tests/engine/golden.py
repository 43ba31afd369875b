"""Load the reference's figures in tests/golden, and train with the same inputs."""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lop_engine.bench.jobs import PlainConvNet
from lop_engine.experiment.spec import Spec
from lop_engine.networks import Layer, build_network
from lop_engine.training.learner import Learner

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


@cache
def load(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / f"{name}.npz"))


@cache
def training_batches() -> tuple[np.ndarray, np.ndarray]:
    """Return images (20, 100, 3, 32, 32) and labels (20, 100) of the training runs."""
    rng = np.random.default_rng(2024)
    images = rng.standard_normal((20, 100, 3, 32, 32), dtype=np.float32)
    labels = rng.integers(0, 2, (20, 100))
    images[:, :, 0, :16, :16] += (labels * 0.3 - 0.15)[:, :, None, None].astype(np.float32)
    assert (
        hashlib.sha256(images.tobytes() + labels.astype(np.int64).tobytes()).hexdigest() == EXPECTED["batches_sha256"]
    )
    return images, labels


def params(name: str, num_seeds: int = 1) -> dict[str, torch.Tensor]:
    """Return the weights of a golden file with a leading seed axis, contiguous as in the reference."""
    stored = load(name)
    names = [key for key in stored if key.endswith((".weight", ".bias"))]
    return {key: torch.from_numpy(stored[key])[None].repeat(num_seeds, *[1] * stored[key].ndim) for key in names}


def golden_learner(spec: Spec, num_seeds: int = 1) -> Learner:
    """Return a learner with the golden initial weights.

    Tensors missing there, such as layer normalisation, start as in training.
    """
    net = build_network(spec, (3, 32, 32), 2)
    own = net.init(range(num_seeds), torch.device("cpu"))
    return Learner(spec, list(range(num_seeds)), torch.device("cpu"), own | params("init", num_seeds))


def weight_difference(learner: Learner, stored: dict[str, np.ndarray], prefix: str = "") -> float:
    """Return the largest difference between the first seed's weights and those of a golden file.

    Args:
        prefix: of the file's keys, such as ``f64.``. Where a key ends in ``[::8]`` it holds every 8th entry.
    """
    differences = []
    for name, weight in learner.params.items():
        ours, key = weight[0].detach().numpy(), prefix + name
        theirs = stored[key] if key in stored else stored[f"{key}[::8]"]
        differences.append(np.abs((ours if key in stored else ours.flatten()[::8]) - theirs).max())
    return float(max(differences))


def fresh_layer(rng: np.random.Generator, layer: Layer) -> torch.Tensor:
    """Return a layer's weight as drawn for the figures of methods, (1, O, I, ...)."""
    bound = 1 / np.sqrt(layer.fan_in)
    return torch.from_numpy(rng.uniform(-bound, bound, layer.weight_shape).astype(np.float32))[None]


@cache
def plain_20_steps(name: str) -> dict[str, np.ndarray]:
    """Return the same run by plain PyTorch on this machine: losses (20,), and the final weights by name."""
    net = PlainConvNet()
    net.load_state_dict({key: weight[0] for key, weight in params("init").items()})
    options = {"lr": EXPECTED[name]["step_size"], "weight_decay": EXPECTED[name].get("weight_decay", 0)}
    optimizer: torch.optim.Optimizer
    if EXPECTED[name].get("opt") == "adam":
        optimizer = torch.optim.Adam(net.parameters(), **options)
    else:
        optimizer = torch.optim.SGD(net.parameters(), momentum=EXPECTED[name].get("momentum", 0), **options)
    losses = []
    for images, labels in zip(*training_batches(), strict=True):
        loss = F.cross_entropy(net(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": np.array(losses), **{key: w.detach().numpy() for key, w in net.named_parameters()}}


def train_20_steps(learner: Learner) -> np.ndarray:
    """Train on the golden batches, the same for every seed; return the losses, (20, S)."""
    images, labels = training_batches()
    losses = []
    for image_batch, label_batch in zip(images, labels, strict=True):
        num_seeds = len(learner.seeds)
        x = torch.from_numpy(image_batch)[None].expand(num_seeds, -1, -1, -1, -1).to(learner.dtype)
        y = torch.from_numpy(label_batch)[None].expand(num_seeds, -1)
        losses.append(learner.step(x, y).loss_S.numpy())
    return np.stack(losses)
