"""Writes and reads pickles of torch tensors without torch, and without executing code in them.

A tensor in a pickle is a call of ``torch._utils._rebuild_tensor_v2`` with a storage, an offset, a shape and strides;
the storage is a call of ``torch.storage._load_from_bytes`` with the format of ``torch.save`` before zip files:
five pickles (magic number, protocol, sizes of C types, the storage's name and length, a list of names), and then the
numbers. Here the calls are written as text, and replaced by numpy arrays when read.
"""

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine import safe_pickle
from lop_engine.errors import DataError, why
from lop_engine.files import open_to_read

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_SIZES = {"protocol_version": _PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
_PREFIX = b"".join(pickle.dumps(one, 2) for one in (_MAGIC, _PROTOCOL, _SIZES))
_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}
_BFLOAT16 = "BFloat16Storage"
"""The upper halves of float32 numbers, for which numpy has no type."""


def dump(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a pickle that torch loads as a dict of float32 tensors on the CPU."""
    parts = [pickle.PROTO, b"\x03", pickle.EMPTY_DICT]
    for name, array in arrays.items():
        parts += [_text(name), _tensor(array), pickle.SETITEM]
    return b"".join([*parts, pickle.STOP])


def load(path: Path) -> Any:
    """Read plain data, with numpy arrays in place of tensors and arrays.

    Raises:
        DataError: an incomplete pickle, one that needs more than data, or a file of ``torch.save``.
    """
    try:
        with open_to_read(path) as file:
            is_archive = file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {why(error)}") from None
    if is_archive:
        raise DataError(
            f"{path}: written by torch.save; where torch is, rewrite it: pickle.dump(torch.load(PATH), open(NEW, 'wb'))"
        )
    return safe_pickle.load(path, _NAMES)


def _tensor(array: np.ndarray) -> bytes:
    stored = _storage(array)
    strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    return b"".join(
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n" + pickle.MARK,
            b"ctorch.storage\n_load_from_bytes\n",
            pickle.BINBYTES + struct.pack("<I", len(stored)) + stored + pickle.TUPLE1 + pickle.REDUCE,
            _int(0) + _ints(array.shape) + _ints(strides) + pickle.NEWFALSE,
            b"ccollections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE,
            pickle.TUPLE + pickle.REDUCE,
        ]
    )


def _storage(array: np.ndarray) -> bytes:
    name = pickle.MARK + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + _int(array.size)
    pointer = pickle.PROTO + b"\x02" + name + pickle.NONE + pickle.TUPLE + pickle.BINPERSID + pickle.STOP
    numbers = np.ascontiguousarray(array, "<f4").tobytes()
    return _PREFIX + pointer + pickle.dumps(["0"], 2) + struct.pack("<q", array.size) + numbers


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text.encode())) + text.encode()


def _int(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _ints(values: Any) -> bytes:
    return pickle.MARK + b"".join(map(_int, values)) + pickle.TUPLE


@dataclass(frozen=True)
class _Storage:
    """The numbers behind tensors."""

    values: np.ndarray


@dataclass(frozen=True)
class _Pointer:
    """Content of a storage's own pickle: the type and number of its values."""

    dtype: str
    size: int
    is_bfloat16: bool = False


def _read_storage(content: Any) -> _Storage:
    """Return a storage from the bytes that torch wrote for it. Raises ValueError."""
    if not isinstance(content, bytes):
        raise ValueError("holds a damaged tensor")
    magic, protocol, sizes, pointer, _, end = safe_pickle.loads_several(content, 5, _pointer)
    if magic != _MAGIC or protocol != _PROTOCOL or not isinstance(pointer, _Pointer) or not isinstance(sizes, dict):
        raise ValueError("holds a tensor in a form that is not read")
    if sizes.get("little_endian") is not True:
        raise ValueError("holds a tensor of a big-endian machine: not read")
    numbers, dtype = content[end + 8 :], np.dtype(pointer.dtype)
    if struct.unpack_from("<q", content, end)[0] != pointer.size or len(numbers) != pointer.size * dtype.itemsize:
        raise ValueError("holds a tensor that is cut off")
    values = np.frombuffer(numbers, dtype)
    return _Storage((values.astype("<u4") << 16).view("<f4") if pointer.is_bfloat16 else values)


def _pointer(pid: Any) -> _Pointer:
    """Parse ``('storage', torch.FloatStorage, name, device, length, view)``. Raises ValueError."""
    match pid:
        case ("storage", safe_pickle.Name("torch", kind), _, _, int() as size, *_) if kind in _DTYPES and size >= 0:
            return _Pointer(_DTYPES[kind], size)
        case ("storage", safe_pickle.Name("torch", kind), _, _, int() as size, *_) if kind == _BFLOAT16 and size >= 0:
            return _Pointer("<u2", size, is_bfloat16=True)
    raise ValueError("holds a tensor of a type that is not read; only numbers of 16, 32 and 64 bits are")


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """Return the tensor as an array. Raises ValueError."""
    sound = isinstance(storage, _Storage) and _are_lengths((offset,)) and _are_lengths(shape) and _are_lengths(strides)
    if not sound or len(shape) != len(strides):
        raise ValueError("holds a damaged tensor")
    size = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and stride != size:
            raise ValueError("holds a tensor that is a view with gaps; pickle its .contiguous().clone()")
        size *= length
    if offset + size > len(storage.values):
        raise ValueError("holds a tensor that is longer than its storage")
    return storage.values[offset : offset + size].reshape(shape)


def _rebuild_parameter(tensor: Any, *_: Any) -> np.ndarray:
    """Return the tensor of an ``nn.Parameter``. Raises ValueError."""
    if not isinstance(tensor, np.ndarray):
        raise ValueError("holds a damaged tensor")
    return tensor


def _are_lengths(values: Any) -> bool:
    return (
        isinstance(values, tuple) and len(values) <= 8 and all(type(one) is int and 0 <= one < 2**40 for one in values)
    )


#: Names that such pickles call, and their replacements.
_NAMES: safe_pickle.Builders = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _read_storage,
    ("collections", "OrderedDict"): lambda: {},
}
