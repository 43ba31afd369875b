"""Reports of `lop bench` as tables."""

from collections.abc import Callable
from typing import Any

from rich.table import Table

from lop_tui.words.console import Console

Report = dict[str, Any]


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    return table


def _milliseconds(row: Report, key: str = "ms") -> str:
    return f"{row[key]:.3g}" if row[key] < 100 else f"{row[key]:.0f}"


def _quartiles(row: Report) -> str:
    return f"{_milliseconds(row, 'low_ms')}-{_milliseconds(row, 'high_ms')}"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def _show_steps(console: Console, report: Report) -> None:
    where = report["gpu"] or "one thread"
    product = report["rows"][0]
    table = _table(
        f"training step, 100 images per seed, {where}; matrix product {product['gflop_per_s']:.0f} GFLOP/s",
        *("", "ms", "quartiles", "a seed", "GFLOP/s", "% product", "/ plain"),
    )
    for row in report["rows"][1:]:
        table.add_row(
            row["name"],
            _milliseconds(row),
            _quartiles(row),
            _milliseconds(row, "ms_per_seed"),
            f"{row['gflop_per_s']:.0f}",
            f"{100 * row['share_of_matrix_product']:.0f}",
            f"{row['speed_over_plain']:.2f}",
        )
    console.print(table)


def _show_methods(console: Console, report: Report) -> None:
    seeds = "a seed" if report["seeds"] == 1 else f"{report['seeds']} seeds"
    table = _table(f"training step of {seeds}, by method", *("", "ms", "quartiles", "/ bp"))
    for row in report["rows"]:
        table.add_row(row["name"], _milliseconds(row), _quartiles(row), f"{row['over_bp']:.2f}")
    console.print(table)


def _show_online(console: Console, report: Report) -> None:
    table = _table(
        f"{report['problem']}: an example of a run, one core, records included",
        *("", "us", "ms a call", "quartiles", "/ plain"),
    )
    for row in report["rows"]:
        name = row["name"] if row["runs"] else f"{row['name']}, plain loop"
        speed = f"{row['speed_over_plain']:.0f}" if row["speed_over_plain"] >= 10 else f"{row['speed_over_plain']:.2f}"
        table.add_row(name, _milliseconds(row, "us"), _milliseconds(row), _quartiles(row), speed)
    console.print(table)


def _show_workers(console: Console, report: Report) -> None:
    table = _table(
        f"the whole machine, {report['cores']} cores, bp", "", "ms a step", "quartiles", "seed-steps a second"
    )
    for row in report["rows"]:
        table.add_row(row["name"], _milliseconds(row), _quartiles(row), f"{row['seed_steps_per_s']:.1f}")
    console.print(table)


def _show_stacks(console: Console, report: Report) -> None:
    table = _table("best stack sizes on one core", "", "runs", "us per step and run, by runs in the stack")
    for row in report["rows"]:
        times = "  ".join(f"{size}: {1000 * ms / int(size):.3g}" for size, ms in row["ms"].items())
        table.add_row(row["name"], str(row["runs"]), times)
    for column in table.columns:
        column.no_wrap = False
    console.print(table)


def _show_metrics(console: Console, report: Report) -> None:
    table = _table("metrics after an epoch, one seed, one thread", "", "ms", "quartiles")
    for row in report["rows"]:
        table.add_row(row["name"], _milliseconds(row), _quartiles(row))
    table.caption = (
        f"the curvature {report['speed_over_plain']:.2f} times as fast as plain; 11 passes at the rate of the matrix "
        f"product would take {report['limit_ms']:.0f} ms: {100 * report['share_of_matrix_product']:.0f} % of it"
    )
    console.print(table)


def _show_upkeep(console: Console, report: Report) -> None:
    table = _table("besides training a task (250 epochs), one seed", "", "ms", "quartiles", "% of training")
    names = {"epoch": "training epoch", "append": "one record", "switch": "next task, not loaded in advance"}
    for row in report["rows"]:
        share = "" if row["name"] == "epoch" else f"{100 * row['share_of_training']:.2g}"
        table.add_row(names.get(row["name"], row["name"]), _milliseconds(row), _quartiles(row), share)
    console.print(table)


def _show_memory(console: Console, report: Report) -> None:
    table = _table("peak memory of a worker, paper's protocol", "seeds", "MiB", "MiB on the GPU")
    for row in report["rows"]:
        on_gpu = f"{row['gpu_bytes'] / 2**20:.0f}" if row["gpu_bytes"] is not None else ""
        table.add_row(str(row["seeds"]), f"{row['bytes'] / 2**20:.0f}", on_gpu)
    console.print(table)


_HOURS = ("hours", "hours_curvature_every_epoch", "hours_curvature_once_a_task")


def _show_hours(console: Console, report: Report) -> None:
    table = _table(
        "hours of experiment files on this machine, all workers at work",
        *("", "runs", "at once", "s/epoch", "metrics", "curv.", "h", "h (1)", "h (0)"),
    )
    table.caption = (
        "at once: workers x seeds of each; metrics: seconds without the curvature; h: of all runs as the file says, "
        "with the curvature after each epoch (1: curvature_every=1) and after each task's last epoch (0)"
    )
    for row in report["rows"]:
        table.add_row(
            row["name"],
            str(row["runs"]),
            f"{row['workers']} x {row['runs_per_worker']}",
            f"{row['epoch_s']:.3g}",
            f"{row['metrics_s']:.3g}",
            f"{row['curvature_s']:.3g}",
            *(_hours(row[key]) for key in _HOURS),
        )
    console.print(table)


TABLES: dict[str, Callable[[Console, Report], None]] = {
    "steps": _show_steps,
    "methods": _show_methods,
    "online": _show_online,
    "workers": _show_workers,
    "stacks": _show_stacks,
    "metrics": _show_metrics,
    "upkeep": _show_upkeep,
    "memory": _show_memory,
    "hours": _show_hours,
}
