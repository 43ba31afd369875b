"""The reference's result files: ``<name>/<setting>/<seed>``, with numbers for settings and seeds, a pickle each.

A pickle is a dict of tensors (tasks, epochs), float32. The public code writes the first two keys, its recording variant
all seven. `SETTINGS`, beside the settings, has the meaning of each number; the reference does not read it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lop_engine import tensors
from lop_engine.analysis import Group, group_runs
from lop_engine.errors import StoreError
from lop_engine.exchange.tables import epoch_table, extent
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.directory import write_json
from lop_engine.runs.views import RunView

#: Key in the pickle by metric, in the order in which Continual ImageNet records them.
KEYS = dict(
    zip(
        CONTINUAL_IMAGENET.metrics,
        (
            "train_accuracies",
            "test_accuracies",
            "curvatures",
            "weight_magnitudes",
            "dormant_proportions",
            "effective_ranks",
            "stable_ranks",
        ),
        strict=True,
    )
)

SETTINGS = "settings.json"


def write_pickles(runs: Sequence[RunView], directory: Path) -> None:
    """Write a pickle per run, with one run in memory at a time; NaN where nothing was recorded.

    Settings are numbered in the order of their start, which is the order of the experiment file.
    """
    groups = sorted(group_runs(runs), key=lambda group: group.experiment)
    for experiment in dict.fromkeys(group.experiment for group in groups):
        settings = sorted((group for group in groups if group.experiment == experiment), key=_begun_at)
        for index, group in enumerate(settings):
            (directory / experiment / str(index)).mkdir(parents=True)
            for run in group.runs:
                table = epoch_table(run, list(KEYS), *extent(group.runs))
                content = tensors.dump(dict(zip(KEYS.values(), table, strict=True)))
                (directory / experiment / str(index) / str(run.seed)).write_bytes(content)
        known = [{"setting": group.setting, "spec": dict(group.runs[0].spec)} for group in settings]
        write_json(directory / experiment / SETTINGS, {"settings": known})


def _begun_at(group: Group) -> float:
    """Return when the first of a setting's runs was made, in Unix seconds; 0 if unknown."""
    return min(map(_created_at, group.runs))


def _created_at(run: RunView) -> float:
    try:
        created_at: Any = run.dir.read_config().get("created_at")
    except (StoreError, OSError):
        return 0.0
    return float(created_at) if isinstance(created_at, int | float) else 0.0
