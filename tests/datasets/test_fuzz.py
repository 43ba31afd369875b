"""Thousands of damaged inputs are imported or refused in one line, and nothing is written elsewhere."""

import pickletools
import random
import shutil

import pytest

from lop_engine import safe_pickle
from lop_engine.datasets import ClassFolder, read_class_order
from lop_engine.datasets.importing import ImportOptions, import_images
from lop_engine.errors import DataError
from tests.datasets.makers import make_images, make_source

#: Number of mutated inputs for each format; 2,600 in all with those of class orders below.
ROUNDS = {"npy": 400, "batches": 600, "npz": 400, "folder": 400, "parquet": 400}
INTERESTING = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Flip, set, cut, repeat or insert bytes, mostly near both ends, where formats store their structure."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        size = max(1, len(data))
        place = rng.choice(
            (rng.randrange(size), rng.randrange(min(size, 200)), size - 1 - rng.randrange(min(size, 400)))
        )
        match rng.randrange(6):
            case 0 if data:
                data[place] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place] = rng.choice(INTERESTING)
            case 2:
                del data[place:]
            case 3:
                del data[place : place + rng.randrange(1, 50)]
            case 4:
                data[place:place] = rng.randbytes(rng.randrange(1, 9))
            case _:
                start = rng.randrange(size)
                data[place:place] = data[start : start + rng.randrange(1, 64)]
    return bytes(data)


def attempt(work, root, allowed) -> bool:
    """Return whether `work` succeeded; fail if it raised anything but an error of one clear line."""
    try:
        work()
    except DataError as error:
        message = str(error)
        assert message
        assert "\n" not in message
        assert len(message) < 2000
        return False
    finally:
        assert {path.name for path in root.iterdir()} <= allowed
    return True


@pytest.mark.parametrize("form", ROUNDS)
@pytest.mark.long
def test_a_mutated_source_is_imported_or_refused_in_one_line(tmp_path, form):
    rng = random.Random(form)
    source = make_source(tmp_path, form, make_images(3))
    victim = sorted(path for path in source.rglob("*") if path.is_file() and path.suffix != ".txt")[-1]
    whole = victim.read_bytes()
    target = tmp_path / "set"
    imported = 0
    for _ in range(ROUNDS[form]):
        victim.write_bytes(mutated(whole, rng))
        options = ImportOptions(format="batches" if form == "npz" else form)
        done = attempt(
            lambda options=options: import_images(source, target, options, lambda *_: None), tmp_path, {form, "set"}
        )
        assert done == target.exists()
        if done:
            imported += 1
            assert ClassFolder.open(target).num_classes >= 2
            shutil.rmtree(target)
    assert imported < ROUNDS[form]


@pytest.mark.parametrize("name", ["order.pkl", "order.npy", "order.csv", "order.json"])
def test_a_mutated_class_order_is_read_or_refused_in_one_line(tmp_path, name):
    from tests.datasets.test_datasets import make_order

    rng = random.Random(name)
    path = tmp_path / name
    make_order(path.with_name("class_order" if name == "order.pkl" else name), [[0, 1, 2, 3], [3, 2, 1, 0]])
    whole = (tmp_path / "class_order").read_bytes() if name == "order.pkl" else path.read_bytes()
    for _ in range(200):
        path.write_bytes(mutated(whole, rng))
        attempt(lambda: read_class_order(path), tmp_path, {name, "class_order"})


def test_random_pickle_instructions_are_read_or_refused_in_one_line(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "x"
    codes = "".join(instruction.code for instruction in pickletools.opcodes).encode("latin1")
    for _ in range(2000):
        path.write_bytes(bytes(rng.choice(codes) for _ in range(rng.randrange(1, 40))) + b".")
        attempt(lambda: safe_pickle.load(path), tmp_path, {"x"})
