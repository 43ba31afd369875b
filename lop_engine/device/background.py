"""Threads that work while a GPU trains: one prepares the next item, one runs calls in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

import torch

from lop_engine.device import use_device

T = TypeVar("T")
R = TypeVar("R")


def works_beside(device: torch.device) -> bool:
    """Whether threads can work while `device` trains. On a CPU they would only slow the training down."""
    return device.type != "cpu"


def made_ahead(make: Callable[[T], R], items: Iterable[T], device: torch.device, name: str) -> Iterator[R]:
    """Yield `make(item)` for each item. A thread makes the next one while the current one is used.

    An error in `make` is raised when its item is due.
    """
    with ThreadPoolExecutor(1, name, use_device, (device,)) as pool:
        coming: Future[R] | None = None
        for item in items:
            made = [coming.result()] if coming else []
            coming = pool.submit(make, item)
            yield from made
        if coming:
            yield coming.result()


class Background:
    """Runs calls in order: in a thread, with at most one pending; or at once if `works_beside` is false.

    The context ends when its last call has ended. The next `submit` or `wait`, or the end of the context, raises the
    error of a failed call; no later call is run.
    """

    def __init__(self, device: torch.device, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name, use_device, (device,)) if works_beside(device) else None
        self._pending: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        try:
            self.wait()
        finally:
            if self._pool:
                self._pool.shutdown()

    def submit(self, call: Callable[..., object], *args: object) -> None:
        """Wait for the previous call to end, then run `call(*args)`."""
        if self._pool is None:
            call(*args)
            return
        self.wait()
        self._pending = self._pool.submit(call, *args)

    def wait(self) -> None:
        """Wait until every call has ended. Raises the error of a failed call."""
        if self._pending is not None:
            error = self._pending.exception()
            self._pending = None
            if error is not None:
                raise error
