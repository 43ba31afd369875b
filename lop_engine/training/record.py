"""Sums and metrics that the record of a task needs from its steps and its start.

Dimensions: S runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lop_engine.experiment.spec import Spec


@dataclass
class EpochSteps:
    """Scores and losses of the steps of an epoch, each before its update, (S,) per batch.

    For a task in parts: one entry, the mean over the task's steps.
    """

    scores: list[Tensor] = field(default_factory=list)
    """Empty for a problem without a score."""
    losses: list[Tensor] = field(default_factory=list)

    def mean_loss(self) -> Tensor:
        """Return the mean loss over the steps, (S,)."""
        return torch.stack(self.losses).mean(0)


class TaskRecord:
    """Sums over the steps of the current task, and the metrics that were measured at its start.

    They are tensors of the checkpoint, so that a run that resumes within a task records the whole task. Empty for
    problems whose tasks are not in parts, and that measure nothing at their start.
    """

    def __init__(self, spec: Spec, num_runs: int, device: torch.device) -> None:
        self._num_steps, in_parts = spec.steps_per_task, bool(spec.examples_per_part)
        names = ("loss", "score") if in_parts else ()
        self._sums = {name: torch.zeros(num_runs, dtype=torch.float64, device=device) for name in names}
        self.measured = {name: torch.zeros(num_runs, device=device) for name in spec.start_metrics}
        """The metrics at the task's start, (S,), by name."""

    def start(self, measured: Mapping[str, Tensor]) -> None:
        """Start the record of a task, with the metrics of its start."""
        for total_S in self._sums.values():
            total_S.zero_()
        for name, value_S in measured.items():
            self.measured[name].copy_(value_S)

    def add(self, steps: EpochSteps) -> EpochSteps:
        """Add the steps of a part; return the means over the task, which are complete after its last part.

        If tasks are not in parts, the steps of an epoch are returned unchanged.
        """
        if not self._sums:
            return steps
        scores_S = torch.stack(steps.scores).double().sum(0) if steps.scores else None
        return self.add_sums(torch.stack(steps.losses).double().sum(0), scores_S)

    def add_sums(self, losses_S: Tensor, scores_S: Tensor | None = None) -> EpochSteps:
        """The same, given the sums over the steps of a part."""
        means = []
        for name, sum_S in (("loss", losses_S), ("score", scores_S)):
            if sum_S is not None:
                self._sums[name] += sum_S
                means.append(self._sums[name].div(self._num_steps).float())
        return EpochSteps(means[1:], means[:1])

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that a resumed run needs, each with a leading axis of runs."""
        return self._sums | {f"start.{name}": value_S for name, value_S in self.measured.items()}
