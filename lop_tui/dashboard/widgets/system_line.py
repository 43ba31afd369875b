"""What the machine and the workers use."""

from rich.text import Text
from textual.widgets import Static

from lop_engine.machine.usage import Usage
from lop_tui.words.formats import memory


class SystemLine(Static):
    """One line; parts that do not fit are left out, the machine's first."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: Usage | None = None

    def show(self, usage: Usage | None) -> None:
        """Bring the line up to date."""
        if usage != self._usage:
            self._usage = usage
            self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        parts = describe_usage(self._usage) if self._usage else []
        while parts and len("   ".join(parts)) > self.content_size.width:
            parts.pop()
        self.update(Text("   ".join(parts), style="dim"), layout=False)


def describe_usage(usage: Usage) -> list[str]:
    """The workers, the GPUs, the machine: the most interesting first."""
    parts = []
    if usage.num_workers:
        workers = "1 worker" if usage.num_workers == 1 else f"{usage.num_workers} workers"
        parts.append(f"{workers}: {usage.workers_cpu:.1f} cores, {memory(usage.workers_memory_bytes)}")
    for gpu in usage.gpus:
        used = f"{memory(gpu.memory_used_bytes)} of {memory(gpu.memory_total_bytes)}"
        busy = "?" if gpu.utilisation is None else f"{gpu.utilisation:.0%}"
        parts.append(f"{gpu.name} {busy}, {used}")
    used = f"{memory(usage.memory_used_bytes)} of {memory(usage.memory_total_bytes)}"
    parts.append(f"machine: CPU {usage.cpu:.0%}, memory {used}")
    return parts
