"""A terminal that is as it was, however the dashboard is ended."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def leaving_on_signals(leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` on SIGTERM and SIGHUP, and have them do what they did before when that has put the terminal right.

    A handler that was there before, such as that of `lop run`, is called at once.
    """
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def handle(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)
        leave()

    for number, previous in before.items():
        if previous is not signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
    if caught and not callable(before[signal.Signals(caught[0])]):
        os.kill(os.getpid(), caught[0])
