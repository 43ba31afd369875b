"""`files.together`: writing many files with a limited number of threads."""

import threading
import time

from lop_engine import files
from lop_engine.files import together


def test_together_limits_concurrent_calls_and_takes_items_lazily(monkeypatch):
    monkeypatch.setattr(files, "MOST_AT_ONCE", 4)
    active, most, made, done = [], [], [], []
    lock = threading.Lock()

    def write(item):
        with lock:
            active.append(item)
            most.append(len(active))
        time.sleep(0.005)
        with lock:
            active.remove(item)
            done.append(item)

    def items():
        for item in range(40):
            made.append(item)
            assert len(made) - len(done) <= 4 * 2 + 4
            yield item

    assert together(write, items()) == []
    assert sorted(done) == list(range(40))
    assert 2 <= max(most) <= 4


def test_together_returns_the_error_of_each_failed_item_and_writes_the_others():
    done = []

    def write(item):
        if item % 3 == 0:
            raise OSError(f"no room for {item}")
        done.append(item)

    failed = together(write, range(10))
    assert [(item, str(error)) for item, error in failed] == [(item, f"no room for {item}") for item in (0, 3, 6, 9)]
    assert sorted(done) == [1, 2, 4, 5, 7, 8]
