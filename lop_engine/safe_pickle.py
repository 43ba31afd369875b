"""Reads an untrusted pickle without executing code.

A pickle is a program. This reader only knows the instructions that build plain data: numbers, text, bytes, lists,
tuples, dicts, and numpy arrays of numbers. The few names that such files call (``numpy.dtype`` etc.) are replaced by
functions of this module; nothing is imported or called, so any other name is an error. Large payloads are
not read: an array holds the position of its values in the file. A caller may replace further names (`Builders`).
"""

import io
import pickletools
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lop_engine.arrays import read_blocks
from lop_engine.errors import DataError, why
from lop_engine.files import require_regular
from lop_engine.text import byte_size

#: Byte strings of this size or larger stay in the file.
_LARGE = 64 * 2**10
_MAX_TEXT = 64 * 2**20
_MAX_IN_MEMORY = 256 * 2**20
#: Limit on everything that is read: each instruction makes an object, text may take four bytes per character.
BUDGET = 512 * 2**20
_OBJECT_BYTES = 80


@dataclass(frozen=True)
class Name:
    """A global name, which is only compared."""

    module: str
    name: str


Builders = Mapping[tuple[str, str], Callable[..., Any]]
"""By module and name: functions that replace calls. They take plain data and bytes, and raise ValueError."""


@dataclass(frozen=True)
class _Span:
    """Bytes in the file that have not been read."""

    offset: int
    length: int


class _StoredType:
    """A numpy dtype under construction."""

    def __init__(self, code: str) -> None:
        if not re.fullmatch(r"[<>|=]?(b1|u[1248]|i[1248]|f[248])", code):
            raise ValueError(f"holds an array of {code[:20]!r}; only arrays of numbers are read")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or _text(state[1]) not in ("<", ">", "|", "="):
            raise ValueError("holds a damaged array type")
        self.dtype = self.dtype.newbyteorder(_text(state[1]))


class StoredArray:
    """An array of numbers in a pickle, whose values may still be in the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.uint8)
        self._is_fortran = False
        self._payload: bytes | _Span = b""

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("holds a damaged array")
        shape, stored_type, is_fortran, payload = state[-4:]
        self._fill(shape, stored_type, is_fortran, payload)

    def _fill(self, shape: Any, stored_type: Any, is_fortran: Any, payload: Any) -> None:
        sound_shape = isinstance(shape, tuple) and len(shape) <= 8 and all(_is_length(n) for n in shape)
        if not sound_shape or not isinstance(stored_type, _StoredType) or not isinstance(payload, bytes | _Span):
            raise ValueError("holds a damaged array, or one of objects; only arrays of numbers are read")
        num_bytes = payload.length if isinstance(payload, _Span) else len(payload)
        expected = stored_type.dtype.itemsize
        for length in shape:
            expected *= length
        if num_bytes != expected:
            raise ValueError(f"declares an array of shape {_cut(shape)}, which its {num_bytes} bytes are not")
        self.shape, self.dtype, self._is_fortran, self._payload = shape, stored_type.dtype, bool(is_fortran), payload

    def whole(self) -> np.ndarray:
        """Return the array."""
        payload = self._payload
        if isinstance(payload, _Span):
            if payload.length > _MAX_IN_MEMORY:
                raise ValueError(f"an array of {byte_size(payload.length)} is too large for its purpose")
            with open(self._path, "rb") as file:
                file.seek(payload.offset)
                payload = file.read(payload.length)
        array = np.frombuffer(payload, self.dtype)
        return array.reshape(self.shape, order="F" if self._is_fortran and len(self.shape) > 1 else "C")

    def blocks(self, num_rows: int) -> Iterator[np.ndarray]:
        """Yield blocks of `num_rows` along its first axis, reading one at a time."""
        if not isinstance(self._payload, _Span) or self._is_fortran:
            whole = self.whole()
            yield from (whole[start : start + num_rows] for start in range(0, len(whole), num_rows))
            return
        with open(self._path, "rb") as file:
            file.seek(self._payload.offset)
            yield from read_blocks(file, self.dtype, self.shape, num_rows)


def load(path: Path, builders: Builders | None = None) -> Any:
    """Read one pickle: plain Python data, with `StoredArray` for arrays.

    Args:
        builders: replacements of further names, besides those of numpy.
    Raises:
        DataError: the file cannot be read, is not a pickle, is truncated, or needs more than data.
    """
    try:
        require_regular(path)
        with open(path, "rb") as file:
            return _Machine(file, path, path.stat().st_size, builders).run()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {why(error)}") from None
    except (ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError, MemoryError, struct.error) as error:
        reason = str(error) if isinstance(error, ValueError) else "not a whole pickle"
        raise DataError(f"{path}: {(reason.splitlines() or ['not a whole pickle'])[0][:200]}") from None


def loads_several(content: bytes, number: int, pointer: Callable[[Any], Any]) -> list[Any]:
    """Read `number` small consecutive pickles in memory; return their values and the offset after the last.

    Args:
        pointer: returns the value of a persistent id.
    Raises:
        ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError: not such pickles.
    """
    file = io.BytesIO(content)
    values = [_Machine(file, Path(), len(content) - file.tell(), None, pointer).run() for _ in range(number)]
    return [*values, file.tell()]


class _File:
    """A file that raises an error instead of reading past its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.left = file, size

    def read(self, length: int) -> bytes:
        self._take(length)
        return self.file.read(length)

    def readline(self) -> bytes:
        line = self.file.readline(2**20)
        self._take(len(line))
        return line

    def skip(self, length: int) -> _Span:
        self._take(length)
        here = self.file.tell()
        self.file.seek(here + length)
        return _Span(here, length)

    def _take(self, length: int) -> None:
        if length > self.left:
            raise EOFError
        self.left -= length


_INSTRUCTIONS = {instruction.code: instruction for instruction in pickletools.opcodes}

#: By instruction: the number of bytes of a string's length.
_LENGTH_BYTES = {
    "SHORT_BINSTRING": 1,
    "SHORT_BINBYTES": 1,
    "SHORT_BINUNICODE": 1,
    "BINSTRING": 4,
    "BINBYTES": 4,
    "BINUNICODE": 4,
    "BINBYTES8": 8,
    "BYTEARRAY8": 8,
    "BINUNICODE8": 8,
}


class _Machine:
    """The pickle machine, without the instructions that call."""

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        size: int,
        builders: Builders | None = None,
        pointer: Callable[[Any], Any] | None = None,
    ) -> None:
        self.file, self.path = _File(file, size), path
        self.builders, self.pointer = builders or {}, pointer
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.left = BUDGET

    def run(self) -> Any:
        while True:
            self.charge(_OBJECT_BYTES)
            instruction = _INSTRUCTIONS[self.file.read(1).decode("latin1")]
            if instruction.name == "STOP":
                return self.stack.pop()
            self.step(instruction.name, self.argument(instruction))

    def charge(self, num_bytes: int) -> None:
        self.left -= num_bytes
        if self.left < 0:
            raise ValueError("contains more data than any batch of images")

    def argument(self, instruction: Any) -> Any:
        """Return the instruction's argument; a large byte string stays in the file."""
        if instruction.arg is None or instruction.name in ("INST", "PERSID"):
            return None
        if instruction.name == "GLOBAL":
            return tuple(self.file.readline().rstrip(b"\n").decode("latin1") for _ in range(2))
        if instruction.name == "STRING":
            return _unquoted(self.file.readline())
        if instruction.name == "LONG4":
            raise ValueError("holds a number of more than 255 bytes: not read")
        if instruction.name not in _LENGTH_BYTES:
            return instruction.arg.reader(self.file)
        length = int.from_bytes(self.file.read(_LENGTH_BYTES[instruction.name]), "little")
        if length > self.file.left:
            raise EOFError
        if "UNICODE" in instruction.name:
            if length > _MAX_TEXT:
                raise ValueError("keeps its images as text (protocol 2): load it and pickle it again with protocol 4")
            self.charge(5 * length)
            return self.file.read(length).decode("utf-8", "surrogatepass")
        if length >= _LARGE:
            return self.file.skip(length)
        self.charge(length)
        return self.file.read(length)

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(stack))
            case "POP":
                stack.pop()
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                stack.append({"LIST": list, "DICT": dict, "TUPLE": tuple}[name[6:]]())
            case "LIST" | "TUPLE":
                items = self.pop_mark()
                stack.append(items if name == "LIST" else tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(name[-1]))]
                stack.append(tuple(reversed(items)))
            case "DICT":
                items = self.pop_mark()
                stack.append({})
                self.set_items(items)
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if name == "APPEND" else self.pop_mark()
                self.top(list).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self.set_items([key, value])
            case "SETITEMS":
                self.set_items(self.pop_mark())
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(Name(*argument))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                if not isinstance(module, str | bytes) or not isinstance(attribute, str | bytes):
                    raise ValueError("not a whole pickle")
                stack.append(Name(_text(module), _text(attribute)))
            case "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                stack.append(self.build(called, arguments))
            case "BINPERSID" if self.pointer:
                stack.append(self.pointer(stack.pop()))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], StoredArray | _StoredType):
                    raise ValueError("gives a state to something other than an array: not read")
                stack[-1].set_state(state)
            case _ if argument is not None and name not in ("PERSID", "INST", "EXT1", "EXT2", "EXT4"):
                stack.append(argument)  # a number or a string
            case _:
                raise ValueError(f"uses the pickle instruction {name}, which plain data has no need of: not read")

    def build(self, called: Any, arguments: Any) -> Any:
        """Build what a known name of such files stands for."""
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise ValueError("calls something other than a name: not read")
        if builder := self.builders.get((called.module, called.name)):
            return builder(*map(self.in_memory, arguments))
        module = called.module.replace("numpy._core", "numpy.core")
        match (module, called.name, *arguments):
            case ("numpy.core.multiarray", "_reconstruct", Name("numpy", "ndarray"), (0,), _):
                return StoredArray(self.path)
            case ("numpy", "dtype", str() | bytes() as code, *_):
                return _StoredType(str(_text(code)))
            case ("numpy.core.multiarray", "scalar", _StoredType() as stored_type, bytes() as raw):
                if len(raw) != stored_type.dtype.itemsize:
                    raise ValueError("holds a damaged number")
                return np.frombuffer(raw, stored_type.dtype)[0].item()
            case ("numpy.core.numeric", "_frombuffer", payload, _StoredType() as stored_type, shape, order):
                array = StoredArray(self.path)
                array._fill(shape, stored_type, _text(order) == "F", payload)
                return array
            case ("__builtin__" | "builtins", "bytes"):
                return b""
            case ("_codecs", "encode", str() as text, "latin1" | "latin-1"):
                self.charge(len(text))
                return text.encode("latin1")
            case _:
                name = _cut(f"{called.module}.{called.name}")
                raise ValueError(f"calls {name}; only plain data and arrays of numbers are read, so nothing was run")

    def in_memory(self, argument: Any) -> Any:
        """Return the argument, reading a byte string that stayed in the file."""
        if not isinstance(argument, _Span):
            return argument
        self.charge(argument.length)
        with open(self.path, "rb") as file:
            file.seek(argument.offset)
            return file.read(argument.length)

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError("not a whole pickle")
        return self.stack[-1]

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes | int):
                raise ValueError("holds a dictionary whose keys are neither names nor numbers")
            target[key] = value

    def pop_mark(self) -> list[Any]:
        """Return the items on the stack since the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _unquoted(line: bytes) -> bytes:
    """Return the string of a pickle in protocol 0, as Python 2 wrote names."""
    match = re.fullmatch(rb"""(['"])([^\\'"]*)\1\n""", line)
    if not match:
        raise ValueError("holds text in a form that names have no need of: not read")
    return match[2]


def _text(value: Any) -> Any:
    """Return a name, which pickles of Python 2 contain as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _cut(value: Any) -> str:
    text = ascii(value) if not isinstance(value, str) else ascii(value)[1:-1]
    return text if len(text) <= 60 else text[:57] + "..."
