"""The synthetic stand-in as a source, so that it can lie on disk like any other images."""

from collections.abc import Iterator

import numpy as np

from lop_engine.datasets.importing.source import Block
from lop_engine.datasets.synthetic import SyntheticImages


class StandIn:
    """Classes of `SyntheticImages`; as many images a class as the split takes."""

    format = "synthetic"

    def __init__(self, images: SyntheticImages) -> None:
        self._images = images
        self.total = images.num_classes

    def names(self) -> dict[int, str]:
        return {}

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        for index in range(self.total):
            for images in self._images.blocks(index, limit):
                yield Block(self._images.name, np.full(len(images), index), images), index + 1
