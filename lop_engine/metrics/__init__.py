"""The metrics: pure tensor functions over the seed axis, each in the reference's definition.

Names and order stand in `lop_engine.records.METRICS`.

Dimensions: S seeds, N training images, B batch, C channels, H W image sides, F units.
"""

from lop_engine.metrics.curvature import curvature
from lop_engine.metrics.ranks import effective_rank, stable_rank
from lop_engine.metrics.units import dormant_proportion
from lop_engine.metrics.weights import weight_magnitude

__all__ = ["curvature", "dormant_proportion", "effective_rank", "stable_rank", "weight_magnitude"]
