"""The stages of the check, by name, without importing them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Group = Literal["correctness", "timings"]
GROUPS: tuple[Group, ...] = ("correctness", "timings")


@dataclass(frozen=True)
class Stage:
    """A part of the check that can be run alone. `module` has a function of the stage's name (- becomes _)."""

    name: str
    group: Group
    module: str
    limit_s: float
    """Time after which the stage is killed, so that a hang does not use up the time of other stages."""
    description: str

    @property
    def function(self) -> str:
        return self.name.replace("-", "_")


STAGES = (
    Stage(
        "runs", "correctness", "runs", 150, "lop run, killed and resumed, against an uninterrupted run; the GPU line"
    ),
    Stage("golden", "correctness", "agreement", 60, "20 steps against the reference's losses"),
    Stage(
        "graphs", "correctness", "agreement", 200, "CUDA graph replay against eager steps, every method and precision"
    ),
    Stage("activations", "correctness", "agreement", 120, "the same with each activation, and against torch's layers"),
    Stage("stack", "correctness", "agreement", 60, "a seed alone against the same seed in a stack"),
    Stage("diverged", "correctness", "agreement", 60, "a seed that is NaN does not affect the others"),
    Stage("problems", "correctness", "problems", 250, "every method on every problem, over tasks, stopped and resumed"),
    Stage("metrics", "correctness", "agreement", 60, "every metric on this device against the CPU"),
    Stage("waiting", "correctness", "load", 60, "synchronisations while an epoch and its metrics are queued"),
    Stage("memory", "correctness", "load", 90, "memory against the plan, and growth over tasks"),
    Stage(
        "steps", "timings", "timing", 150, "step, epoch and metric times by stack and precision, beside the plain loop"
    ),
    Stage("metric-times", "timings", "timing", 40, "each metric alone"),
    Stage("profile", "timings", "timing", 60, "torch.profiler: kernels of an epoch and of a metric epoch"),
    Stage("busy", "timings", "runs", 90, "lop run at the paper's protocol: its speed, and how busy it keeps the card"),
    Stage("online", "timings", "online", 90, "steps of the online problems by stack and precision, beside plain ones"),
    Stage("fused", "timings", "fused", 90, "lop's own kernels of a pooled convolution against torch's, and by layer"),
    Stage("convolutions", "timings", "ways", 150, "ways to convolve a stack of seeds, by layer"),
)

GROUP_OF: dict[str, Group] = {stage.name: stage.group for stage in STAGES}


def choose(names: Iterable[str]) -> list[Stage]:
    """Return the stages that `names` (of stages or groups) select, in order; by default all. Raises ValueError."""
    chosen = set(names)
    known = {stage.name for stage in STAGES} | set(GROUPS)
    if unknown := sorted(chosen - known):
        raise ValueError(f"no stage is called {unknown[0]}; --list shows them")
    return [stage for stage in STAGES if not chosen or {stage.name, stage.group} & chosen]
