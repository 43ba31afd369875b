"""All aggregation: bins of tasks, means and bands over seeds, single seeds, and paired comparisons.

Charts, figures, tables, status and the summary of `lop run` all use this package, so that their numbers agree to the
last digit. numpy only; `statistics` uses scipy for Student's t and the bootstrap, and imports it only when needed.
"""

from lop_engine.analysis.comparison import Comparison, Stretch, compare_to_first, protocol_differences
from lop_engine.analysis.curves import PAPER_BIN, Curve, average, bin_means, default_bin, smooth
from lop_engine.analysis.groups import Group, group_runs
from lop_engine.analysis.seeds import Difference, SeedSummary, SeedTable, compare, seed_table, summarise_seed
from lop_engine.analysis.statistics import Estimate, PairedTest, estimate
from lop_engine.analysis.windows import (
    OVERS,
    Over,
    Summary,
    Tenths,
    Window,
    final_value,
    summarise,
    tenths_of,
    window_means,
)

__all__ = [
    "OVERS",
    "PAPER_BIN",
    "Comparison",
    "Curve",
    "Difference",
    "Estimate",
    "Group",
    "Over",
    "PairedTest",
    "SeedSummary",
    "SeedTable",
    "Stretch",
    "Summary",
    "Tenths",
    "Window",
    "average",
    "bin_means",
    "compare",
    "compare_to_first",
    "default_bin",
    "estimate",
    "final_value",
    "group_runs",
    "protocol_differences",
    "seed_table",
    "smooth",
    "summarise",
    "summarise_seed",
    "tenths_of",
    "window_means",
]
