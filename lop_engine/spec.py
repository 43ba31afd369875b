"""One validated experiment: reads the JSON file, expands its sweep into runs.

The keys are those of the reference's Continual ImageNet files, so that its files are read as they
are, plus a few of our own (the last block of `Spec`). A key whose value is a list is swept.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from lop_engine.errors import ConfigError
from lop_engine.experiment_file import MAX_INT, MAX_RUNS, expand_sweep, read_config, twice, without_comments
from lop_engine.methods import METHODS
from lop_engine.mistakes import explain, shown, unknown_keys
from lop_engine.records import ALL_METRICS, COST_IN_EPOCHS, METRICS, NEED_HIDDEN

#: An experiment's name is a directory's and a label's.
_EXPERIMENT = re.compile(r"\w[\w .+=-]*")


def _integral(value: Any) -> Any:
    """JSON files write 5000 as 5e3 at times: an integral float is an int. A bool is none, whatever Python says."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "a bool")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(value: Any) -> Any:
    """The reference writes true and 1 for the same thing."""
    return bool(value) if type(value) is int and value in (0, 1) else value


def _number_text(value: Any) -> Any:
    """The reference's generated files write ``"run_idx": "0"``."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value


def _optimizer(value: Any) -> Any:
    return "adamW" if isinstance(value, str) and value.lower() == "adamw" else value


Int = Annotated[int, BeforeValidator(_integral), Field(le=MAX_INT)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Utility = Literal[
    "contribution",
    "zero_contribution",
    "adaptable_contribution",
    "adaptation",
    "weight",
    "feature_by_input",
    "random",
]
Precision = Literal["fp32", "tf32", "bf16"]
Proportion = Annotated[float, Field(ge=0, le=1)]


def _metrics(value: Any) -> Any:
    names = list(value) if isinstance(value, (list, tuple)) else [value]
    if not names or len(set(map(str, names))) < len(names):
        raise PydanticCustomError("metrics", "should be a list of different metrics")
    for name in names:
        if name not in ALL_METRICS:
            raise PydanticCustomError("literal_error", "a metric", {"expected": ", ".join(ALL_METRICS)})
    return tuple(names)


def _method(value: Any) -> Any:
    if value not in METHODS:
        raise PydanticCustomError("literal_error", "a method", {"expected": ", ".join(METHODS)})
    return value


class Spec(BaseModel):
    """Everything that decides a run's numbers, except its seed.

    What a file may leave to its images (0 images, "auto", no checksum) is filled in before a run begins:
    `datasets.resolve`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    # learner
    agent: Annotated[str, AfterValidator(_method)]
    opt: Annotated[Literal["sgd", "adam", "adamW"], BeforeValidator(_optimizer)] = "sgd"
    step_size: float = Field(gt=0)
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: float = Field(0.0, ge=0)
    perturb_scale: float = Field(0.0, ge=0)
    # continual backprop
    replacement_rate: Proportion = 1e-4
    decay_rate: Annotated[float, Field(ge=0, lt=1)] = 0.99
    util_type: Utility = "contribution"
    maturity_threshold: Int = Field(100, ge=0)
    net_type: Annotated[Literal[1, 2], BeforeValidator(_integral)] = 1
    # tasks
    num_tasks: Int = Field(ge=1)
    num_classes: Int = Field(2, ge=2)
    num_showings: Int = Field(ge=1)
    mini_batch_size: Int = Field(100, ge=1)
    new_heads: Flag = True
    # read for the reference's sake
    num_runs: Int = Field(1, ge=1)
    use_gpu: Flag = True
    run_idx: Annotated[Int, BeforeValidator(_number_text)] = Field(0, ge=0)
    index: Annotated[Int, BeforeValidator(_number_text)] = Field(0, ge=0)
    data_dir: str = ""
    data_file: str = ""
    model_version: str | float = ""
    # ours
    checkpoint_every_s: float = Field(60.0, ge=0)
    dataset: str = "imagenet32"
    dataset_classes: Int = Field(1000, ge=2)
    dataset_seed: Int = Field(0, ge=0)
    dataset_sha256: str = ""
    class_order: str = ""
    class_order_sha256: str = ""
    train_images: Int = Field(0, ge=0)
    test_images: Int = Field(0, ge=0)
    normalisation: Literal["auto", "none", "scaled"] = "auto"
    width: float = Field(1.0, gt=0, le=8)
    precision: Precision = "fp32"
    metrics: Annotated[tuple[str, ...], BeforeValidator(_metrics)] = METRICS
    metrics_every: Int = Field(1, ge=0)
    curvature_every: Int = Field(1, ge=0)
    curvature_images: Int = Field(0, ge=0)
    budget_accrual: Literal["all", "eligible"] | None = None

    @property
    def method(self) -> str:
        """The algorithm: `l2` and `snp` may be spelled as `bp` with weight decay and perturbation."""
        if self.agent == "cbp":
            return "cbp2" if self.net_type == 2 else "cbp"
        if self.agent in ("bp", "l2") and self.perturb_scale > 0:
            return "snp"
        if self.agent == "bp" and self.weight_decay > 0:
            return "l2"
        return self.agent

    @property
    def accrual(self) -> Literal["all", "eligible"]:
        """The units on which CBP's budget accrues: all in the published results, the eligible in CBP as layers."""
        return self.budget_accrual or ("eligible" if self.method == "cbp2" else "all")

    @property
    def steps_per_epoch(self) -> int:
        """Mini-batches an epoch, the short last one included; 0 until the number of images is known."""
        return -(-self.num_classes * self.train_images // self.mini_batch_size)

    def metrics_after(self, epoch: int) -> tuple[str, ...]:
        """The metrics to measure after epoch `epoch` of a task, counted from 0; empty if it is not recorded.

        A task's last epoch is always recorded, with all metrics.
        """
        last = epoch + 1 == self.num_showings
        if not (last or _is_multiple(epoch + 1, self.metrics_every)):
            return ()
        left_out = NEED_HIDDEN if self.method == "linear" else frozenset()
        if not (last or _is_multiple(epoch + 1, self.curvature_every)):
            left_out |= COST_IN_EPOCHS.keys()
        return tuple(name for name in self.metrics if name not in left_out)


def _is_multiple(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


#: Keys that never change a run's numbers: they may differ between a run and its file.
BOOKKEEPING_KEYS = frozenset(
    {"num_runs", "use_gpu", "run_idx", "index", "data_dir", "data_file", "model_version", "checkpoint_every_s"}
)


@dataclass(frozen=True)
class Run:
    """One seed of one setting of one experiment: the unit that has a run directory."""

    experiment: str
    setting: str
    seed: int
    spec: Spec

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.setting}/{self.seed}"


def load_runs(
    path: Path,
    seeds: list[int] | None = None,
    overrides: dict[str, Any] | None = None,
    notes: list[str] | None = None,
) -> list[Run]:
    """Read an experiment file and expand it: every setting of the sweep, every seed.

    Args:
        path: the JSON file; its stem names the experiment.
        seeds: seeds to run; by default the one in a file of the reference's generator, else 0 .. num_runs - 1.
        overrides: values that replace the file's (a list sweeps here too).
        notes: receives notes for the user, such as keys that have no effect or a seed that replaces the file's.
    Raises:
        ConfigError: naming file, key, value and the nearest valid choice.
    """
    _check_name(path)
    typed = without_comments(overrides or {})
    raw = read_config(path)
    source = {key: str(path) for key in raw} | {key: "--set" for key in typed}
    raw = raw | typed
    _check_entries(raw, source)
    if "class_order" in raw:
        raw["class_order"] = _absolute(raw["class_order"])  # a worker may run elsewhere
    runs: list[Run] = []
    collected = notes if notes is not None else []
    settings: dict[Spec, dict[str, Any]] = {}
    experiment = path.stem
    for setting, values in expand_sweep(raw, str(path), source):
        spec = validate(values, str(path), source)
        _check_combination(spec, values, str(path))
        _refuse_the_same(settings.setdefault(spec, values), values, raw, source)
        chosen = _seeds(seeds, spec, values, str(path), collected)
        if len(runs) + len(chosen) > MAX_RUNS:
            raise ConfigError(f"{path}: settings times seeds make more than {MAX_RUNS} runs")
        runs += [Run(experiment, setting, seed, spec) for seed in chosen]
        if spec.opt != "sgd" and spec.momentum:
            collected.append(f"{path}: momentum {spec.momentum:g} has no effect with opt {spec.opt}; only sgd uses it")
    collected[:] = dict.fromkeys(collected)
    return runs


def validate(values: dict[str, Any], where: str, source: dict[str, str] | None = None) -> Spec:
    """Return the validated Spec. Raises ConfigError for the first mistake, and says how many more there are."""
    try:
        return Spec(**values)
    except ValidationError as error:
        errors = error.errors()
    unknown = {str(one["loc"][0]): one["input"] for one in errors if one["type"] == "extra_forbidden"}
    if unknown:  # often a misspelling of a missing key
        raise ConfigError(f"{where}: {unknown_keys(unknown, Spec.model_fields)}")
    more = len({one["loc"][0] for one in errors}) - 1
    message = f"{(source or {}).get(str(errors[0]['loc'][0]), where)}: {explain(errors[0])}"
    raise ConfigError(message + (f" (and {more} more)" if more else ""))


def parse_seeds(text: str) -> list[int]:
    """Read ``30`` (seeds 0-29), ``0,3,5-9`` or ``7,`` (seed 7 alone). Raises ConfigError."""
    problem = f'--seeds "{text}": write a number of seeds (30), or a list such as 0,3,5-9'
    too_many = f'--seeds "{text}": more than {MAX_RUNS} seeds'
    if re.fullmatch(r"[0-9]{1,7}", text) and int(text) > 0:
        if int(text) > MAX_RUNS:
            raise ConfigError(too_many)
        return list(range(int(text)))
    seeds: set[int] = set()
    for part in text.rstrip(",").split(","):
        match = re.fullmatch(r"\s*([0-9]{1,7})(?:-([0-9]{1,7}))?\s*", part)
        if not match or ("," not in text and "-" not in text):
            raise ConfigError(problem)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f'--seeds "{text}": {part.strip()} runs backwards')
        if len(seeds) + last - first >= MAX_RUNS:
            raise ConfigError(too_many)
        seeds.update(range(first, last + 1))
    return sorted(seeds)


def describe_seeds(seeds: Iterable[int]) -> str:
    """Write seeds as `parse_seeds` reads them: ``0,3,5-9``; ``7,`` is seed 7 alone."""
    spans: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    text = ",".join(f"{first}-{last}" if first < last else str(first) for first, last in spans)
    return f"{text}," if text.isdigit() else text


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs; a value is JSON, or else a string. Raises ConfigError, also for a key given twice."""
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f'--set "{assignment}": write key=value, for example --set num_tasks=50')
        if key in overrides:
            raise ConfigError(f'--set gives key "{key}" twice; give it once')
        try:
            overrides[key] = json.loads(text)
        except (ValueError, RecursionError):
            overrides[key] = text
    return overrides


def _check_name(path: Path) -> None:
    if not _EXPERIMENT.fullmatch(path.stem):
        raise ConfigError(
            f"{ascii(str(path))[1:-1]}: names an experiment, so its name may hold letters, digits, . _ + = - only"
        )


def _check_entries(raw: dict[str, Any], source: dict[str, str]) -> None:
    """Refuse unknown keys, all in one message, and values that no key could hold."""
    unknown: dict[str, dict[str, Any]] = {}
    for key, value in raw.items():
        if key not in Spec.model_fields:
            unknown.setdefault(source[key], {})[key] = value
    if unknown:
        parts = [f"{where}: {unknown_keys(keys, Spec.model_fields)}" for where, keys in unknown.items()]
        raise ConfigError("; ".join(parts))
    for key, value in raw.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict | list):
                reason = "should be one value, or one list to sweep over"
                raise ConfigError(f'{source[key]}: key "{key}": {shown(one)}: {reason}')
            if isinstance(one, str) and not one.isprintable():
                raise ConfigError(f'{source[key]}: key "{key}": {shown(one)}: holds a character that cannot be printed')


def _absolute(class_order: Any) -> Any:
    """The path of a table of class orders, or a list of them, made absolute; other values are unchanged."""
    if isinstance(class_order, list):
        return [_absolute(one) for one in class_order]
    return str(Path(class_order).absolute()) if isinstance(class_order, str) and class_order else class_order


def _refuse_the_same(
    first: dict[str, Any], values: dict[str, Any], raw: dict[str, Any], source: dict[str, str]
) -> None:
    """Refuse a setting with the same configuration as an earlier one, `first`."""
    if first is not values:
        # The first such pair differs in only one key, because settings come in the order of the product.
        differing = [key for key in raw if json.dumps(first[key]) != json.dumps(values[key])]
        repeated = [
            key for key in raw if isinstance(raw[key], list) and len(set(map(json.dumps, raw[key]))) < len(raw[key])
        ]
        key = (differing or repeated)[0]
        raise ConfigError(f"{source[key]}: {twice(key, first[key], values[key], raw[key])}")


def _seeds(seeds: list[int] | None, spec: Spec, values: dict[str, Any], where: str, notes: list[str]) -> Sequence[int]:
    """The seeds of one setting: those asked for, the one in the file, or 0 .. num_runs - 1.

    The reference's generator writes a file for each run; run_idx is its seed, and num_runs says how many such files
    there are. In a file for all runs, which has no index, run_idx is 0.
    """
    is_generated = "index" in values or isinstance(values.get("run_idx"), str) or spec.run_idx > 0
    if not is_generated:
        return seeds if seeds is not None else range(spec.num_runs)
    if seeds is None:
        if spec.num_runs > 1:
            notes.append(f"{where}: only seed {spec.run_idx} (run_idx) is trained; use --seeds {spec.num_runs} for all")
        return [spec.run_idx]
    if seeds != [spec.run_idx]:
        notes.append(f"{where}: --seeds replaces the file's seed {spec.run_idx} (run_idx)")
    return seeds


def _check_combination(spec: Spec, values: dict[str, Any], where: str) -> None:
    """Refuse what was asked for and would be passed over in silence."""
    unused = {
        "perturb_scale": spec.method not in ("snp", "bp", "l2") and spec.perturb_scale > 0,
        "util_type": spec.method == "cbp2" and values.get("util_type", "contribution") != "contribution",
        "decay_rate": spec.method == "cbp2" and values.get("decay_rate", 0) != 0,
    }
    for key, is_unused in unused.items():
        if is_unused:
            raise ConfigError(
                f'{where}: key "{key}": {shown(values[key])}: has no part in method {spec.method}; leave it out'
            )
    if spec.method == "linear" and not set(spec.metrics) - NEED_HIDDEN:
        raise ConfigError(
            f'{where}: key "metrics": a linear network has no hidden units, so none of these can be measured'
        )
