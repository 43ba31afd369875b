"""A terminal that is as it was, however the dashboard is ended."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def leaving_on_signals(leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` on SIGTERM and SIGHUP, and die of them as ever when that has put the terminal right.

    Whoever handles them already, such as `lop run`, goes on to do so alone.
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
