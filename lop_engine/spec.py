"""One validated experiment: reads the JSON file, expands its sweep into runs.

The keys are those of the reference's Continual ImageNet files, so that its files are read as they
are, plus a few of our own (the last block of `Spec`). A key whose value is a list is swept.
"""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from lop_engine.errors import ConfigError, did_you_mean
from lop_engine.methods import METHODS
from lop_engine.mistakes import explain, kind_of, shown, unknown_key
from lop_engine.records import ALL_METRICS, METRICS, NEED_HIDDEN

#: An experiment's name is a directory's and a label's.
_EXPERIMENT = re.compile(r"\w[\w .+=-]*")

#: More runs, or seeds, than anybody means: a slip of the keyboard, caught before it fills the memory.
MAX_RUNS = 100_000
MAX_INT = 10**9


def _integral(value: Any) -> Any:
    """JSON files write 5000 as 5e3 at times: an integral float is an int. A bool is none, whatever Python says."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "a bool")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(value: Any) -> Any:
    """The reference writes true and 1 for the same thing."""
    return bool(value) if type(value) is int and value in (0, 1) else value


Int = Annotated[int, BeforeValidator(_integral), Field(le=MAX_INT)]
Flag = Annotated[bool, BeforeValidator(_flag)]
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
    opt: Literal["sgd", "adam", "adamW"] = "sgd"
    step_size: float = Field(gt=0)
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: float = Field(0.0, ge=0)
    perturb_scale: float = Field(0.0, ge=0)
    # continual backprop
    replacement_rate: Proportion = 1e-4
    decay_rate: Annotated[float, Field(ge=0, lt=1)] = 0.99
    util_type: Literal["contribution", "zero_contribution", "adaptable_contribution", "adaptation", "random"] = (
        "contribution"
    )
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
    run_idx: Int = Field(0, ge=0)
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
        """Mini-batches an epoch, the short last one included; 0 while the number of images is not filled in."""
        return -(-self.num_classes * self.train_images // self.mini_batch_size)


#: Keys whose value is a list in itself, and so not swept.
LIST_KEYS = frozenset({"metrics"})

#: Keys that never change a run's numbers: they may differ between a run and its file.
BOOKKEEPING_KEYS = frozenset(
    {"num_runs", "use_gpu", "run_idx", "data_dir", "data_file", "model_version", "checkpoint_every_s"}
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


def load_runs(path: Path, seeds: list[int] | None = None, overrides: dict[str, Any] | None = None) -> list[Run]:
    """Read an experiment file and expand it: every setting of the sweep, every seed.

    Args:
        path: the JSON file; its stem names the experiment.
        seeds: seeds to run; by default 0 .. num_runs - 1.
        overrides: values that replace the file's (a list sweeps here too).
    Raises:
        ConfigError: naming file, key, value and the nearest valid choice.
    """
    if not _EXPERIMENT.fullmatch(path.stem):
        raise ConfigError(
            f"{ascii(str(path))[1:-1]}: names an experiment, so its name may hold letters, digits, . _ + = - only"
        )
    raw = read_config(path)
    source = {key: str(path) for key in raw} | {key: "--set" for key in overrides or {}}
    raw = raw | (overrides or {})
    for key, value in raw.items():
        _check_entry(key, value, source[key])
    runs: list[Run] = []
    if isinstance(raw.get("class_order"), str) and raw["class_order"]:
        raw["class_order"] = str(Path(raw["class_order"]).absolute())  # a worker may run elsewhere
    for setting, values in expand_sweep(raw, str(path), source):
        spec = validate(values, str(path), source)
        _check_combination(spec, values, str(path))
        chosen = seeds if seeds is not None else range(spec.num_runs)
        if len(runs) + len(chosen) > MAX_RUNS:
            raise ConfigError(f"{path}: settings times seeds make more than {MAX_RUNS} runs")
        runs += [Run(path.stem, setting, seed, spec) for seed in chosen]
    return runs


def read_config(path: Path) -> dict[str, Any]:
    """Read one JSON object, without its comments. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.json")]) if path.parent.is_dir() else ""
        raise ConfigError(f"{path}: no such file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    if not text.strip():
        raise ConfigError(f"{path}: is empty; an experiment file is one JSON object")
    try:
        raw = json.loads(text, object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply to be an experiment file") from None
    except ValueError:
        raise ConfigError(f"{path}: holds a number of thousands of digits") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: an experiment file is one JSON object, this is {kind_of(raw)}")
    return {key: value for key, value in raw.items() if not key.startswith("_comment")}


def expand_sweep(
    raw: dict[str, Any], where: str, source: dict[str, str] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Return (setting name, values) for the Cartesian product of all list values, in file order.

    Args:
        where: what errors name as the place, unless `source` says where the key came from.
    Raises:
        ConfigError: a list is empty, holds a value twice, or the settings are too many.
    """
    swept = [key for key, value in raw.items() if isinstance(value, list) and key not in LIST_KEYS]
    for key in swept:
        place = (source or {}).get(key, where)
        if not raw[key]:
            raise ConfigError(f'{place}: key "{key}" sweeps over an empty list; give at least one value')
        again = [name for name, times in Counter(map(_plain, raw[key])).items() if times > 1]
        if again:
            raise ConfigError(f'{place}: key "{key}" sweeps over {again[0]} twice: {shown(raw[key])}')
    if math.prod(len(raw[key]) for key in swept) > MAX_RUNS:
        raise ConfigError(f"{where}: the sweep over {', '.join(swept)} makes more than {MAX_RUNS} settings")
    settings = []
    for values in itertools.product(*(raw[key] for key in swept)):
        chosen = dict(zip(swept, values, strict=True))
        name = ",".join(f"{key}={_plain(value)}" for key, value in chosen.items()) or "default"
        if len(name.encode()) > 255:
            raise ConfigError(f"{where}: the sweep over {', '.join(swept)} makes names too long for a directory")
        settings.append((name, raw | chosen))
    return settings


def validate(values: dict[str, Any], where: str, source: dict[str, str] | None = None) -> Spec:
    """Return the validated Spec. Raises ConfigError for the first mistake, and says how many more there are."""
    try:
        return Spec(**values)
    except ValidationError as error:
        # An unknown key goes first: it is often the misspelling of one that is missing.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        more = len({one["loc"][0] for one in error.errors()}) - 1
    key = str(first["loc"][0])
    message = f"{(source or {}).get(key, where)}: {explain(first, Spec.model_fields)}"
    raise ConfigError(message + (f" (and {more} more)" if more else "")) from None


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


def _check_entry(key: str, value: Any, where: str) -> None:
    """Refuse what no key of any name could hold."""
    if key not in Spec.model_fields:
        raise ConfigError(f"{where}: {unknown_key(key, value, Spec.model_fields)}")
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict | list):
            raise ConfigError(f'{where}: key "{key}": {shown(one)}: should be one value, or one list to sweep over')
        if isinstance(one, str) and not one.isprintable():
            raise ConfigError(f'{where}: key "{key}": {shown(one)}: holds a character that cannot be printed')


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


def _plain(value: Any) -> str:
    """A value as it stands in a directory name; different numbers differ there."""
    if isinstance(value, float) and math.isfinite(value):
        value = int(value) if value.is_integer() and abs(value) < MAX_INT else value
    return re.sub(r"[^\w.+-]", "_", str(value))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, times in Counter(key for key, _ in pairs).items():
        if times > 1 and not key.startswith("_comment"):
            raise ConfigError(f"key {shown(key)} stands there twice")
    return dict(pairs)
