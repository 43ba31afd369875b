"""THE one aggregation: bins of tasks, means and bands over seeds, single seeds, two methods seed by seed.

Charts, figures, tables, status and the summary of `lop run` all come here, so that their numbers agree to the last
digit. numpy only; `paired` asks scipy for Student's t, and loads it no sooner.
"""

from lop_engine.analysis.curves import PAPER_BIN, Curve, average, bin_means, default_bin, smooth
from lop_engine.analysis.groups import Group, Summary, group_runs, summarise
from lop_engine.analysis.paired import Difference, compare
from lop_engine.analysis.seeds import SeedSummary, SeedTable, seed_table, summarise_seed

__all__ = [
    "PAPER_BIN",
    "Curve",
    "Difference",
    "Group",
    "SeedSummary",
    "SeedTable",
    "Summary",
    "average",
    "bin_means",
    "compare",
    "default_bin",
    "group_runs",
    "seed_table",
    "smooth",
    "summarise",
    "summarise_seed",
]
