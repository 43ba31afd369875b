"""Worker logs, read from their end and followed as they grow."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lop_engine.errors import why
from lop_engine.files import open_to_read
from lop_engine.text import plain

REACH_BYTES = 2**18
"""Bytes that are read at first, and with each step back."""
MOST_LINES = 10_000
MOST_CHARACTERS = 4_000
"""Most characters of a line; longer lines are cut."""
_CHUNK = 2**16
_MARK_BYTES = 64


def start_of_last(log: Path, lines: int) -> int:
    """Return the byte at which the last `lines` lines begin; reads only the end of the file. Raises OSError."""
    size = log.stat().st_size
    with open_to_read(log) as file:
        start, num_lines = size, 0
        while start > 0:
            length = min(_CHUNK, start)
            start -= length
            file.seek(start)
            block = file.read(length)
            end = len(block) - 1 if start + length == size else len(block)  # the last newline starts no line
            while (end := block.rfind(b"\n", 0, end)) >= 0:
                num_lines += 1
                if num_lines == lines:
                    return start + end + 1
    return 0


def last_line(log: Path) -> str:
    """Return the last non-blank line of a log as plain text; "" if missing. Raises OSError."""
    with open_to_read(log) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _CHUNK))
        lines = file.read(_CHUNK).split(b"\n")
    return next((text for line in reversed(lines) if (text := decode(line).strip())), "")


def clean(line: str) -> str:
    """Return a line of a log as a terminal would show it, as plain text of limited length."""
    line = plain(line.rstrip("\r").rpartition("\r")[2])
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]} ..."


@dataclass(frozen=True)
class LogText:
    """The end of a log at one moment."""

    lines: tuple[str, ...] = ()
    """Plain text; the last line may be incomplete."""
    first: int = 0
    """Number of the first of `lines`; lines keep their numbers when others are added before or after them."""
    has_older: bool = False
    """Whether there is earlier text, which `LogTail.read_older` returns."""
    remark: str = ""
    """Why there are no lines."""


class LogTail:
    """Follows the end of a log, reading only new text.

    A log that was cut, replaced or removed is read from scratch. Memory is bounded: the newest `most_lines` lines
    are kept.
    """

    def __init__(self, path: Path, reach_bytes: int = REACH_BYTES, most_lines: int = MOST_LINES) -> None:
        self.path = path
        self._reach_bytes = reach_bytes
        self._most_lines = most_lines
        self._was_there = False
        self._text = LogText()
        self._lines: list[str] = []
        self._first = self._start = self._end = 0
        self._rest = self._mark = b""
        self._is_full = False

    def read(self) -> LogText:
        """Return the current text; the same object as before if nothing has changed."""
        try:
            with open_to_read(self.path) as file:
                changed = self._read_new(file)
        except FileNotFoundError:
            self._start_anew(0)
            return self._say("The log was removed." if self._was_there else "No log yet: no worker has trained it.")
        except OSError as error:
            self._start_anew(0)
            return self._say(f"{self.path}: cannot be read: {why(error)}")
        self._was_there = True
        if not self._lines and not self._rest:
            return self._say("The log is empty so far.")
        if changed or self._text.remark:
            self._text = self._take()
        return self._text

    def read_older(self) -> LogText:
        """Return the same with some of the earlier text."""
        if not self._text.has_older:
            return self._text
        try:
            with open_to_read(self.path) as file:
                start = self._line_start(file, self._start - self._reach_bytes, self._start)
                file.seek(start)
                older = file.read(self._start - start).split(b"\n")[:-1]
        except OSError:
            return self.read()  # and report the problem
        self._start = start
        self._first -= len(older)
        self._lines = [decode(line) for line in older] + self._lines
        self._text = self._take()
        return self._text

    def _read_new(self, file: BinaryIO) -> bool:
        size = os.fstat(file.fileno()).st_size
        anew = not 0 <= size - self._end <= self._reach_bytes or not self._is_the_same(file)
        if anew:
            self._start_anew(self._line_start(file, size - self._reach_bytes, size))
        file.seek(self._end)
        block = file.read(size - self._end)
        self._end += len(block)
        self._mark = (self._mark + block)[-_MARK_BYTES:]
        *whole, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > _CHUNK:
            whole, self._rest = [*whole, self._rest], b""
        self._lines += map(decode, whole)
        return anew or bool(block)

    def _is_the_same(self, file: BinaryIO) -> bool:
        """Whether the text read last is still there: a log may have been truncated and grown again."""
        file.seek(self._end - len(self._mark))
        return file.read(len(self._mark)) == self._mark

    def _start_anew(self, start: int) -> None:
        self._start = self._end = start
        self._lines = []
        self._first = 0
        self._rest = self._mark = b""
        self._is_full = False

    @staticmethod
    def _line_start(file: BinaryIO, start: int, end: int) -> int:
        """Return where the first line at or after `start` begins; `start` itself if its line reaches `end`."""
        if start <= 0:
            return 0
        file.seek(start - 1)
        file.readline(end - start + 1)
        return file.tell() if file.tell() < end else start

    def _take(self) -> LogText:
        excess = len(self._lines) - self._most_lines
        if excess > 0:
            del self._lines[:excess]
            self._first += excess
            self._is_full = True
        lines = (*self._lines, decode(self._rest)) if self._rest else tuple(self._lines)
        return LogText(lines, self._first, self._start > 0 and not self._is_full)

    def _say(self, remark: str) -> LogText:
        if self._text.remark != remark:
            self._text = LogText(remark=remark)
        return self._text


def decode(line: bytes) -> str:
    """Return the bytes of a log's line as plain text, see `clean`."""
    return clean(line.decode("utf-8", "replace"))
