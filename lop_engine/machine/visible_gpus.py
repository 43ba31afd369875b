"""Find the NVML devices that CUDA_VISIBLE_DEVICES leaves visible to CUDA, in CUDA's order.

This follows CUDA's rules: the list ends at its first invalid entry, and naming a device twice leaves none visible.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any


def visible_devices(nvml: Any, visible: str | None) -> list[Any]:
    """Return NVML's handles of the devices that CUDA may use.

    A GPU in MIG mode stands for its slices, unless they are named one by one.

    Args:
        nvml: the module `pynvml`, initialised.
        visible: the value of CUDA_VISIBLE_DEVICES, None if it is not set: indices (in the order of the PCI bus, as
            for CUDA_DEVICE_ORDER=PCI_BUS_ID), ``GPU-<uuid>``, ``MIG-<uuid>`` and ``MIG-GPU-<uuid>/<instance>/<compute
            instance>``; a uuid may be shortened as long as it is unique.
    """
    gpus = [_Device(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    if visible is None:
        chosen = gpus
    else:
        chosen = []
        for word in visible.split(","):
            found = _named(word.strip(), gpus)
            if found is None:
                break
            if found in chosen:
                return []
            chosen.append(found)
    return [handle for device in chosen for handle in device.handles()]


class _Device:
    """A GPU, or a MIG slice of one; a GPU that does not answer has no handles but keeps its index."""

    def __init__(self, nvml: Any, index: int, parent: "_Device | None" = None) -> None:
        self._nvml, self._handle, self.uuid, self.names = nvml, None, "", list[str]()
        with suppress(Exception):
            self._handle = (
                nvml.nvmlDeviceGetMigDeviceHandleByIndex(parent._handle, index)
                if parent
                else nvml.nvmlDeviceGetHandleByIndex(index)
            )
            self.uuid = text(nvml.nvmlDeviceGetUUID(self._handle))
            self.names.append(self.uuid)
        if parent:
            with suppress(Exception):
                place = (nvml.nvmlDeviceGetGpuInstanceId, nvml.nvmlDeviceGetComputeInstanceId)
                numbers = "/".join(str(ask(self._handle)) for ask in place)
                self.names.append(f"MIG-{parent.uuid}/{numbers}")

    def handles(self) -> Iterator[Any]:
        """NVML's handles: of the device, or of its slices."""
        slices = self.slices()
        if slices:
            yield from (one._handle for one in slices)
        elif self._handle is not None:
            yield self._handle

    def slices(self) -> "list[_Device]":
        """The MIG slices; empty if MIG mode is off or NVML does not support MIG."""
        nvml = self._nvml
        with suppress(Exception):
            if nvml.nvmlDeviceGetMigMode(self._handle)[0]:
                places = range(nvml.nvmlDeviceGetMaxMigDeviceCount(self._handle))
                return [one for place in places if (one := _Device(nvml, place, self))._handle is not None]
        return []


def _named(word: str, gpus: list[_Device]) -> _Device | None:
    """The device that an entry means; None if it is invalid."""
    if number := re.match(r"\+?\d+", word):  # CUDA reads the leading digits: "1x" is 1
        index = int(number[0])
        return gpus[index] if index < len(gpus) else None
    if word.startswith("GPU-"):
        found = [gpu for gpu in gpus if gpu.uuid.startswith(word)]
    elif word.startswith("MIG-"):
        slices = [one for gpu in gpus for one in gpu.slices()]
        found = [one for one in slices if any(_is_short_for(word, name) for name in one.names)]
    else:
        found = []
    return found[0] if len(found) == 1 else None


def _is_short_for(word: str, name: str) -> bool:
    """Whether an entry means the MIG slice of a name: its uuid may be cut short, its instances may not."""
    uuid, slash, place = word.partition("/")
    whole, _, its_place = name.partition("/")
    return whole.startswith(uuid) and (not slash or place == its_place)


def text(value: str | bytes) -> str:
    """NVML's text: older versions of its module return bytes."""
    return value.decode() if isinstance(value, bytes) else value
