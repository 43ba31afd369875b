"""THE one aggregation: bins of tasks, means and bands over seeds, single seeds, two methods seed by seed.

Charts, figures, tables, status and the summary of `lop run` all come here, so that their numbers agree to the last
digit. numpy only; `statistics` asks scipy for Student's t and the bootstrap, and loads it no sooner.
"""

from lop_engine.analysis.comparison import Comparison, Stretch, compare_to_first, protocol_differences
from lop_engine.analysis.curves import PAPER_BIN, Curve, average, bin_means, default_bin, smooth
from lop_engine.analysis.groups import Group, Summary, group_runs, summarise
from lop_engine.analysis.paired import Difference, compare
from lop_engine.analysis.seeds import SeedSummary, SeedTable, seed_table, summarise_seed
from lop_engine.analysis.statistics import Estimate, PairedTest, estimate
from lop_engine.analysis.windows import Window, window_means

__all__ = [
    "PAPER_BIN",
    "Comparison",
    "Curve",
    "Difference",
    "Estimate",
    "Group",
    "PairedTest",
    "SeedSummary",
    "SeedTable",
    "Stretch",
    "Summary",
    "Window",
    "average",
    "bin_means",
    "compare",
    "compare_to_first",
    "default_bin",
    "estimate",
    "group_runs",
    "protocol_differences",
    "seed_table",
    "smooth",
    "summarise",
    "summarise_seed",
    "window_means",
]
