"""Decide how to retry runs whose worker failed, by the worker's exit status."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import NO_CUDA_GRAPH, OUT_OF_MEMORY


@dataclass(frozen=True)
class Decision:
    """Stacks to queue again, and messages to show."""

    reports: list[str]
    first: list[list[RunDir]] = field(default_factory=list)
    """Stacks to put at the front of the queue, because they had already started."""
    last: list[list[RunDir]] = field(default_factory=list)


class Retries:
    """Decides how runs are retried.

    A run whose worker died is retried `limit` times. Two failures have a remedy that does not count as a retry:
    training without CUDA graphs if one cannot be captured, and in two smaller stacks if memory runs out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tries: Counter[RunDir] = Counter()
        self._options: dict[RunDir, list[str]] = {}

    def worker_options(self, stack: Sequence[RunDir]) -> list[str]:
        """Options of a stack's next worker, given the failures of earlier ones."""
        return self._options.get(stack[0], [])

    def decide(self, code: int, stack: Sequence[RunDir], failed: dict[RunDir, str]) -> Decision:
        """Decide how to retry a stack's `failed` runs (each with its reason), given the worker's exit status `code`."""
        if code == NO_CUDA_GRAPH and not self.worker_options(stack):
            return self._without_graphs(failed)
        if code == OUT_OF_MEMORY and len(stack) > 1:
            return _halve(stack, failed)
        if code == OUT_OF_MEMORY:
            return Decision([f"{run_dir.name} failed: {why}" for run_dir, why in failed.items()])
        return self._as_before(failed)

    def _without_graphs(self, failed: dict[RunDir, str]) -> Decision:
        why = next(iter(failed.values()))
        options = ["--no-cuda-graphs", f"--note=trained without CUDA graphs, which is slower: {why}"]
        self._options |= {run_dir: options for run_dir in failed}
        return Decision([f"{_names(failed)}: {why}; training without CUDA graphs, which is slower"], [list(failed)])

    def _as_before(self, failed: dict[RunDir, str]) -> Decision:
        again = [run_dir for run_dir in failed if self._tries[run_dir] < self._limit]
        self._tries.update(again)
        reports = [
            f"{run_dir.name} failed: {why}"
            + (f"; trying again ({self._tries[run_dir]} of {self._limit})" if run_dir in again else "")
            for run_dir, why in failed.items()
        ]
        return Decision(reports, last=[again] if again else [])


def _halve(stack: Sequence[RunDir], failed: dict[RunDir, str]) -> Decision:
    dirs, half = list(failed), -(-len(failed) // 2)
    halves = [part for part in (dirs[:half], dirs[half:]) if part]
    sizes = " and ".join(str(len(part)) for part in halves)
    report = f"{_names(failed)}: out of memory with {len(stack)} runs in one worker; retrying with {sizes} per worker"
    return Decision([report], halves)


def _names(run_dirs: dict[RunDir, str]) -> str:
    first, more = next(iter(run_dirs)).name, len(run_dirs) - 1
    return f"{first} and {more} more" if more else first
