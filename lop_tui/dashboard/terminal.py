"""Keeps control characters out of the terminal, and restores it however the dashboard ends."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_LOOK_EVERY_S = 0.5


class PlainText(LineFilter):
    """Removes control characters from names, errors and logs, keeping each line's width."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return [
            segment if segment.control else Segment(_plain(segment.text), segment.style, None) for segment in segments
        ]


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else "?" * cell_len(one) for one in text)


@contextmanager
def leaving_on_signals(leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` on SIGTERM and SIGHUP; end by the same signal once the terminal is restored.

    An existing handler, such as that of `lop run`, is kept.
    """
    caught: list[int] = []
    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]

    def handle(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        leave()

    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
    if caught:
        os.kill(os.getpid(), caught[0])


@contextmanager
def leaving_with_the_terminal(leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` when the terminal is closed, even if SIGHUP is ignored (nohup).

    Textual would otherwise read end-of-file in a busy loop.
    """
    ended = threading.Event()
    watcher = threading.Thread(target=_wait_for_hang_up, args=(sys.__stdin__, ended, leave), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _wait_for_hang_up(terminal: TextIO | None, ended: threading.Event, leave: Callable[[], None]) -> None:
    if not terminal or not terminal.isatty():
        return
    poll = select.poll()
    poll.register(terminal, 0)  # only errors and hang-ups
    while not ended.wait(_LOOK_EVERY_S):
        if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
            leave()
            return
