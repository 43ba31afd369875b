"""How many runs are worth training in one stack on a CPU core.

A step takes Python and torch a fixed time, however many runs the stack has, and time for each run's arithmetic. With a
small network nearly all of it is the fixed time, so hundreds of runs train almost as fast as one. With the ConvNet
nearly all of it is arithmetic, so a larger stack gains nothing. `lop bench --only stacks` measures the size that pays,
and keeps it for each problem, network and host. What has not been measured is looked up in a table that ships with
lop, or estimated.
"""

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from lop_engine.experiment.spec import Spec
from lop_engine.files import read_small, replacing
from lop_engine.launch.memory import described_size

MOST_RUNS = 1000
"""In a stack, whatever pays."""
TOLERANCE = 0.1
"""A stack is large enough if a run costs at most this share more than in the best size."""
FIXED_NS = 2.5e5
"""Of a step, for an estimate where nothing has been measured; a weight takes `_NS_A_WEIGHT`, more by each example."""
_NS_A_WEIGHT, _NS_AN_EXAMPLE = 2.0, 0.1

_FILE_BYTES = 4 * 2**20
_SHIPPED = Path(__file__).with_name("stack_sizes.json")


def runs_that_pay(spec: Spec, directory: Path | None = None) -> int:
    """The number of runs in a stack beyond which a CPU core gains nothing, at least 1.

    Args:
        directory: where measured sizes are kept; by default the user's cache.
    """
    what = describe(spec)
    for table in (_read(_kept(directory)).get(_host(), {}), _shipped()):
        if what in table:
            return int(min(max(1, table[what]), MOST_RUNS))
    return _estimate(spec)


def best_size(ms_by_size: Mapping[int, float]) -> int:
    """The smallest stack in which a run costs about as little as in the best one.

    Args:
        ms_by_size: milliseconds of a step, by the number of runs in the stack.
    """
    of_run = {size: ms / size for size, ms in ms_by_size.items()}
    least = min(of_run.values())
    return min(size for size, ms in of_run.items() if ms <= (1 + TOLERANCE) * least)


def keep(spec: Spec, size: int, directory: Path | None = None) -> None:
    """Remember a measured size for this host. A cache that cannot be written keeps nothing."""
    path = _kept(directory)
    tables = _read(path)
    tables.setdefault(_host(), {})[describe(spec)] = size
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(json.dumps(tables, indent=1).encode())


def describe(spec: Spec) -> str:
    """What decides the balance, in one line: problem, network with its keys, and batch size."""
    network = spec.parts.network
    keys = {key: getattr(spec, key) for key in sorted(network.fields.model_fields)}
    words = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
    return " ".join([spec.problem, network.name, *words, f"mini_batch_size={spec.mini_batch_size}"])


def _estimate(spec: Spec) -> int:
    """From weights and batch size; 1 for networks that convolve, or of unknown size."""
    described = described_size(spec)
    if described is None or "images" in spec.parts.network.needs:
        return 1
    _, size = described
    of_run_ns = size.num_parameters * (_NS_A_WEIGHT + _NS_AN_EXAMPLE * spec.mini_batch_size)
    return int(min(max(1, FIXED_NS / (TOLERANCE * of_run_ns)), MOST_RUNS))


def _host() -> str:
    return f"{socket.gethostname()}, {os.cpu_count()} cores"


def _kept(directory: Path | None) -> Path:
    return (directory or user_cache_path("lop")) / "stack_sizes.json"


@cache
def _shipped() -> dict[str, int]:
    shipped: dict[str, int] = json.loads(_SHIPPED.read_bytes())
    return shipped


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """What is kept; a file that cannot be read knows nothing."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        return {
            str(host): {what: size for what, size in table.items() if type(size) is int}
            for host, table in json.loads(read_small(path, _FILE_BYTES)).items()
        }
    return {}
