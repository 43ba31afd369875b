"""Untrusted pickles are read as data or refused."""

import builtins
import os
import pickle
import struct
import subprocess
import time

import numpy as np
import pytest

from lop_engine import safe_pickle
from lop_engine.datasets import read_class_order
from lop_engine.errors import DataError


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_and_arrays_of_numbers_are_read(tmp_path, protocol):
    arrays = {
        "small": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "large": np.arange(300_000, dtype=np.uint8).reshape(-1, 100),
        "turned": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "swapped": np.arange(5, dtype=">f4"),
        "empty": np.zeros((0, 7), np.int64),
    }
    plain = {
        "list": [1, 300, 70_000, -5, 2**40, True, None, 1.5],
        "text": "hé",
        "bytes": b"\xff\x00",
        "tuple": (1, (2,)),
    }
    path = tmp_path / "x"
    path.write_bytes(pickle.dumps({**plain, **arrays, "number": np.int64(7), b"old": "key"}, protocol))
    read = safe_pickle.load(path)
    assert {key: read[key] for key in plain} == plain
    assert (read["number"], read[b"old"]) == (7, "key")
    for name, array in arrays.items():
        stored = read[name]
        assert (stored.shape, stored.dtype) == (array.shape, array.dtype)
        assert (stored.whole() == array).all()
        blocks = list(stored.blocks(2))
        assert all(len(block) <= 2 for block in blocks)
        if len(array):
            assert (np.concatenate(blocks) == array).all()


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.answer = function, arguments

    def __reduce__(self):
        return self.answer


class WithState:
    def __reduce__(self):
        return dict, (), {"x": 1}


def nested(payload):
    return {"data": [({"deep": (payload,)},)]}


PAYLOADS = {
    "os.system": lambda mark: Calls(os.system, f"touch {mark}"),
    "subprocess": lambda mark: Calls(subprocess.Popen, ["touch", str(mark)]),
    "eval": lambda mark: Calls(builtins.eval, f"open({str(mark)!r}, 'w')"),
    "getattr": lambda mark: Calls(getattr, "x", "upper"),
    "nested": lambda mark: nested(Calls(os.mkdir, str(mark))),
    "nested reduce": lambda mark: Calls(Calls, Calls(os.mkdir, str(mark))),
    "array of objects": lambda mark: np.array([Calls(os.mkdir, str(mark))], dtype=object),
    "array of text": lambda mark: np.array(["a"]),
    "record array": lambda mark: np.zeros(2, dtype=[("a", "u1")]),
    "state": lambda mark: WithState(),
    "class": lambda mark: {1: 2, "c": Calls(type, "x", (), {})},
    "memmap": lambda mark: Calls(np.memmap, str(mark), "u1", "w+", 0, (4,)),
    "fromfile": lambda mark: Calls(np.fromfile, "/etc/passwd"),
    "set": lambda mark: {1, 2},
    "complex": lambda mark: 1j,
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", PAYLOADS)
def test_pickles_that_call_functions_are_refused_and_never_executed(tmp_path, name, protocol):
    mark = tmp_path / "mark"
    path = tmp_path / "stranger"
    path.write_bytes(pickle.dumps(PAYLOADS[name](mark), protocol))
    with pytest.raises(DataError) as refused:
        safe_pickle.load(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert not mark.exists()


def test_a_pickled_name_is_not_resolved_to_a_function(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(pickle.dumps(os.system))
    assert not callable(safe_pickle.load(path))


ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
    b"(I1\n%scnumpy\ndtype\n(V%s\nI0\nI1\ntRI00\nC\x04abcdtb."
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole pickle"),
        (b"\x80\x04", "not a whole pickle"),
        (b"hello", "not a whole pickle"),
        (b"\x93NUMPY", "pickle"),
        (b".", "not a whole pickle"),
        (b"a.", "not a whole pickle"),
        (b"(.", "not a whole pickle"),
        (b"N\x85\x86.", "not a whole pickle"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.", "not a whole pickle"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.", "not a whole pickle"),
        (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.", "a number of more than 255 bytes"),
        (b"\x80\x02\x8b" + struct.pack("<i", -5) + b"x.", "a number of more than 255 bytes"),
        (b"Nr" + struct.pack("<I", 2**32 - 1) + b"j" + struct.pack("<I", 5) + b".", "not a whole pickle"),
        (b"I" + b"9" * 10_000 + b"\n.", "x"),
        (b"})Ns.", "keys are neither names nor numbers"),
        (b"})" + b"\x85" * 100_000 + b"Ns.", "keys are neither names nor numbers"),
        (b"Pid\n.", "PERSID"),
        (b"(ios\nsystem\n.", "INST"),
        (b"cos\nsystem\n(Vls\ntR.", "calls os.system"),
        (b"cos\nsystem\n}b.", "gives a state to something other than an array"),
        (ARRAY % (b"(I2\nI2\nt", b"u1"), None),
        (ARRAY % (b"(I1000000000000\nI1000000000000\nt", b"u1"), "declares an array of shape"),
        (ARRAY % (b"(I-4\nt", b"u1"), "damaged array"),
        (ARRAY % (b"(I4\nt", b"O8"), "only arrays of numbers"),
        (ARRAY % (b"(" + b"I1\n" * 40 + b"t", b"u1"), "damaged array"),
    ],
)
def test_damaged_and_malicious_files_are_refused(tmp_path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    if message is None:
        assert safe_pickle.load(path).whole().tolist() == [[97, 98], [99, 100]]
        return
    with pytest.raises(DataError, match=message) as refused:
        safe_pickle.load(path)
    assert "\n" not in str(refused.value)


def doubled(times: int) -> bytes:
    """Return a pickle of nested lists that each contain the previous one twice: 2 ** times elements when traversed."""
    return b"]\x94" + b"".join(b"]\x94(h%ch%ce" % (n, n) for n in range(times))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04" + doubled(60) + b"\x8c\x01x\x93.", "not a whole pickle"),
        (b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"\x8c\x01x\x93.", "not a whole pickle"),
        (
            b"\x80\x04X"
            + struct.pack("<I", 1_000_000)
            + b"x" * 1_000_000
            + b"\x94"
            + b"c_codecs\nencode\nh\x00\x8c\x06latin1\x86R" * 4000
            + b".",
            "more data than any batch",
        ),
        (b"\x80\x04" + b"}" * 3_000_000 + b".", "more data than any batch"),
        (b"\x80\x04" + (b"B" + struct.pack("<I", 65_000) + bytes(65_000)) * 1_200 + b".", "more data than any batch"),
    ],
    ids=["doubled", "nested", "encoded", "dicts", "bytes"],
)
def test_small_files_that_would_fill_the_memory_or_never_end_are_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(safe_pickle, "BUDGET", safe_pickle.BUDGET // 8)
    path = tmp_path / "x"
    path.write_bytes(content)
    began = time.monotonic()
    with pytest.raises(DataError, match=message):
        safe_pickle.load(path)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("content", [b"\x80\x04" + doubled(60) + b".", b"\x80\x04]\x94(h\x00h\x00e."])
def test_a_class_order_that_would_never_end_is_refused(tmp_path, content):
    path = tmp_path / "class_order"
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected whole numbers"):
        read_class_order(path)


def test_a_deeply_nested_pickle_is_read(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"N" + b"\x85" * 200_000 + b".")
    assert isinstance(safe_pickle.load(path), tuple)
