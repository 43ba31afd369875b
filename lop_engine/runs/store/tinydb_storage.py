"""TinyDB queries over record files, safe beside a live writer."""

from pathlib import Path
from typing import Any

from tinydb import Storage, TinyDB
from tinydb.table import Table

from lop_engine.errors import StoreError
from lop_engine.runs.store.reader import TableTail


class TailStorage(Storage):
    """A read-only TinyDB storage: reads whole documents only, and only the new ones each time.

    Stock ``TinyDB(path)`` works as well on a file that nobody writes at the moment.
    """

    def __init__(self, path: Path | str) -> None:
        self._tail = TableTail(Path(path))
        self._documents: dict[str, dict[str, Any]] = {}
        self._restarts = 0

    def read(self) -> dict[str, dict[str, Any]]:
        new = self._tail.read_new()
        if self._tail.restarts != self._restarts:
            self._restarts = self._tail.restarts
            self._documents = {}
        for document in new:
            self._documents[str(len(self._documents) + 1)] = document
        return {self._tail.table: dict(self._documents)} if self._tail.table else {}

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        raise StoreError(f"{self._tail.path}: records are read here, never changed")


class _UncachedTable(Table):
    """A table that keeps no query results: the file grows without TinyDB knowing."""

    def __init__(self, storage: Storage, name: str) -> None:
        super().__init__(storage, name, cache_size=0)


class _ReadOnlyTinyDB(TinyDB):
    table_class = _UncachedTable  # type: ignore[assignment]


def open_readonly(path: Path | str) -> TinyDB:
    """Open a record file for queries: ``open_readonly(p).table("tasks").search(where("task") < 50)``."""
    return _ReadOnlyTinyDB(path, storage=TailStorage)
