"""Threads that work while a GPU trains: one makes the next item, one finishes calls in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

import torch

from lop_engine.device import use_device

T = TypeVar("T")
R = TypeVar("R")


def works_beside(device: torch.device) -> bool:
    """Whether threads can work while `device` trains. On a CPU they would only take time from the training."""
    return device.type != "cpu"


def made_ahead(make: Callable[[T], R], items: Iterable[T], device: torch.device, name: str) -> Iterator[R]:
    """Yield `make(item)` for each item. A thread makes the next one while the present one is used.

    An error of `make` is raised in its turn.
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
    """Makes calls in order: in a thread, at most one pending; or at once, where `works_beside` is false.

    A context that ends when its last call has ended. An error of a call is raised by the next `submit` or `wait`, or
    at the end of the context; no later call is made.
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
        """Make `call(*args)` after the previous call has ended; wait for that one."""
        if self._pool is None:
            call(*args)
            return
        self.wait()
        self._pending = self._pool.submit(call, *args)

    def wait(self) -> None:
        """Wait until every call has ended. Raises the error of the last one."""
        if self._pending is not None:
            error = self._pending.exception()
            self._pending = None
            if error is not None:
                raise error
