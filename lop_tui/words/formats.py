"""Short formats of numbers."""

import math
from collections.abc import Collection, Iterable, Sequence

from lop_engine.experiment.components import Metric, Scale, factor_of
from lop_engine.experiment.sweep import describe_seeds


def duration(seconds: float) -> str:
    """Return ``45s``, ``12m``, ``1h05m``, ``2d03h``: at most six characters below 100 days, ``-`` above 10000."""
    if not 0 <= seconds < 10_000 * 86_400:
        return "-"
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d{hours % 24:02d}h"


def count(number: int) -> str:
    """``950``, ``12345``, ``150k``, ``2.4M``."""
    if number < 100_000:
        return str(number)
    return f"{number / 1e3:.0f}k" if number < 1_000_000 else f"{number / 1e6:.1f}M"


def tasks(done: Sequence[int], num_tasks: int) -> str:
    """Return the tasks done, from the slowest to the fastest seed: ``110-120/150``, ``150/150``."""
    first, last = min(done, default=0), max(done, default=0)
    return f"{count(first)}{f'-{count(last)}' if last > first else ''}/{count(num_tasks)}"


def rate(tasks_per_min: float) -> str:
    """Return ``12/min``, ``3.4/min``, ``8.1/h``: tasks per a unit of time that gives a readable number."""
    if tasks_per_min >= 1:
        return f"{significant(tasks_per_min, 2)}/min"
    return f"{significant(tasks_per_min * 60, 2)}/h"


def significant(number: float, digits: int = 3) -> str:
    """Format a number with the given significant digits, without exponent between 1e-4 and a million."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(number)))
    if not 1e-4 <= abs(number) < 1e6:
        return f"{number:.{digits - 1}e}"
    return f"{number:.{max(0, decimals)}f}"


def with_error(mean: float, error: float) -> str:
    """Return ``83.2 ± 0.4``: the error with at most two significant digits, the mean to the same decimal."""
    if not error or not math.isfinite(error):
        return significant(mean)
    decimals = min(max(0, -math.floor(math.log10(error))), 6)
    if abs(mean) >= 1:
        decimals = min(decimals, 3 if abs(mean) < 10 else 2)
    return f"{mean:.{decimals}f} ± {error:.{decimals}f}"


def short_value(value: float, scale: Scale) -> str:
    """Format a metric briefly: percent with one decimal, others with three digits."""
    return f"{100 * value:.1f}" if factor_of(scale) == 100 else significant(value)


def mean_with_error(mean: float, error: float | None, measure: Metric) -> str:
    """Return ``88.9 ± 1.8``: percent with one decimal, others to the decimal of their error; without error the mean."""
    if error is None:
        return short_value(mean, measure.scale)
    if measure.factor == 100:
        return f"{100 * mean:.1f} ± {100 * error:.1f}"
    return with_error(mean, error)


def column_heading(measure: Metric) -> str:
    """Return a metric's heading for a narrow column: ``test %``, ``online error``."""
    return f"{measure.title.removesuffix(' accuracy')} %" if measure.unit == "%" else measure.title


def quantity(x: float, unit: str) -> str:
    """Format a place on an x axis: ``1250`` tasks, ``150k`` examples, ``3.8M`` steps, ``0.52`` hours."""
    if unit in ("hours", "minutes"):
        return significant(x)
    return f"{x:.0f}" if unit in ("tasks", "epochs") else count(round(x))


def place(x: float, unit: str) -> str:
    """Format a place on an x axis with its unit: ``task 1250``, ``example 150k``, ``3.8M steps``, ``0.52 hours``."""
    if unit in ("steps", "hours", "minutes"):
        return f"{quantity(x, unit)} {unit}"
    return f"{unit.removesuffix('s')} {quantity(x, unit)}"


def span(first_task: int, last_task: int, unit: str = "tasks", per_task: int = 1) -> str:
    """Format a span of tasks, counted from 1, both included: ``task 5``, ``tasks 51-100``, ``examples 2001-4000``."""
    first, last = (first_task - 1) * per_task + 1, last_task * per_task
    return place(first, unit) if first == last else f"{unit} {first}-{last}"


def shortened(name: str, most: int) -> str:
    """Shorten a long name in its middle: its beginning identifies it, its end tells it from others."""
    if len(name) <= most:
        return name
    return f"{name[: (most - 1) // 2]}…{name[len(name) - most // 2 :]}"


def distinct(names: Iterable[str], most: int) -> dict[str, str]:
    """Shorten `names`, by full name, to `most` characters, or more if needed to keep different names different."""
    names = list(names)
    longest = max(map(len, names), default=0)
    while len({shortened(name, most) for name in names}) < len(set(names)) and most < longest:
        most += 4
    return {name: shortened(name, most) for name in names}


def name_seeds(numbers: Collection[int]) -> str:
    """Return ``seed 7``, ``seeds 0-4, 7``; only the first eight ranges."""
    ranges = describe_seeds(numbers).rstrip(",").split(",")
    more = ", ..." if len(ranges) > 8 else ""
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(ranges[:8])}{more}"


BREAK = "!"
"""Mark in charts, heat maps and figures where a seed becomes non-finite, has too large a loss, or diverges."""
BREAK_LEGEND = f"{BREAK} not finite or diverged"


def time_left(eta_s: float | None) -> str:
    """Return ``all runs done in about 12 min``; "" if unknown."""
    return "" if eta_s is None else f"all runs done in about {duration(eta_s)}"
