"""Networks over a leading seed axis, by the name in a spec."""

from collections.abc import Sequence

from lop_engine.experiment.code import load
from lop_engine.experiment.spec import Spec
from lop_engine.networks.layers import Activations, Buffers, Hidden, Layer, Network, Params, channels_last

__all__ = ["Activations", "Buffers", "Hidden", "Layer", "Network", "Params", "build_network", "channels_last"]


def build_network(spec: Spec, input_shape: Sequence[int], num_outputs: int) -> Network:
    """Return the network of a spec.

    Args:
        input_shape: of one example: (C, H, W) for images, (I,) for vectors.
    """
    network: Network = load(spec.parts.network)(spec, tuple(input_shape), num_outputs)
    return network
