"""`lop data`, from the command line to a data set that trains."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lop_engine.datasets import ClassFolder, SyntheticImages
from lop_engine.runs.directory import find_runs
from lop_engine.runs.store import read_table
from lop_tui import cli
from lop_tui.commands import data_sets
from lop_tui.commands.data import info
from tests.datasets.makers import FORMATS, WNIDS, make_images, make_source
from tests.helpers import TINY


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lop(monkeypatch, capsys):
    """Run a command in this process; return exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lop", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        assert "\x1b" not in output.out
        return ended.value.code or 0, output.out, output.err

    return run


@pytest.mark.long
def test_a_run_trains_on_a_data_set_imported_from_every_format(here, lop):
    for form in FORMATS:
        status, out, _ = lop("data", "import", make_source(here, form, make_images()), "--to", here / "sets" / form)
        assert status == 0
        assert f"sets/{form}: 4 classes, 36 images (uint8), 8 train, 1 test" in out
        assert "lop run cfg/bp.json --data" in out
    paths = [str(here / "sets" / form) for form in FORMATS]
    config = {"agent": "bp", "step_size": 0.01, "num_tasks": 2, "num_showings": 2, "metrics_every": 0, "width": 0.25}
    (here / "bp.json").write_text(json.dumps(config | {"dataset": paths, "metrics": ["test_accuracy"]}))
    status, out, error = lop("run", "bp.json", "--seeds", "1")
    assert status == 0, error
    assert out.count("9 images in the smallest class: 8 train, 1 test images per class, the paper has 600 train") == 5
    runs = list(find_runs(here / "runs"))
    assert len(runs) == 5
    for run in runs:
        spec = run.read_config()["spec"]
        assert (spec["train_images"], spec["test_images"], spec["normalisation"]) == (8, 1, "scaled")
        assert spec["dataset_sha256"] == ClassFolder.open(here / "sets" / "npy").sha256
    # Every format with names orders its classes alike, so the same seed trained on the same tasks.
    courses = {json.dumps([(t["classes"], t["test_accuracy"]) for t in read_table(run.tasks_json)]) for run in runs}
    assert len(courses) == 1


def test_resume_refuses_images_that_have_changed(here, lop):
    source = make_source(here, "npy", make_images())
    lop("data", "import", source, "--to", "set")
    (here / "tiny.json").write_text(
        json.dumps(TINY | {"dataset": str(here / "set"), "train_images": 8, "test_images": 1})
    )
    assert lop("run", "tiny.json", "--seeds", "1", "--set", "num_tasks=1")[0] == 0
    np.save(source / "classes" / "0.npy", make_images()[0] // 2)
    lop("data", "import", source, "--to", "set", "--replace")
    status, _, error = lop("run", "tiny.json", "--seeds", "1", "--set", "num_tasks=1")
    assert status == 2
    assert "begun with another configuration (dataset_sha256" in error


def test_verify_names_the_problem_and_exits_with_1(here, lop):
    lop("data", "import", make_source(here, "folder", make_images()), "--to", "set")
    status, out, _ = lop("data", "verify", "set")
    assert (status, out) == (0, "set: valid: 4 classes, 36 images, values 0 to 255\n")
    files = [here / "set" / "classes" / f"{index}.npy" for index in range(4)]
    content = bytearray(files[0].read_bytes())
    content[-1] ^= 1
    files[0].write_bytes(content)
    files[2].write_bytes(files[3].read_bytes())
    np.save(files[1], np.zeros((9, 3, 32, 32), np.uint8))
    status, out, _ = lop("data", "verify", "set")
    assert status == 1
    assert "classes/0.npy: its images are not those that were imported" in out
    assert "classes/1.npy: all 9 images are the same" in out
    assert "classes/3.npy: holds the same images as 2.npy" in out
    np.save(files[1], np.zeros((8, 3, 32, 32), np.uint8))
    status, out, _ = lop("data", "verify", "set")
    assert (status, "not those that set/dataset.json lists" in out) == (1, True)
    assert lop("data", "verify", "nowhere")[0] == 1


def test_verify_checks_images_without_a_manifest(here, lop):
    floats = make_images().astype(np.float32)
    source = make_source(here, "npy", floats)
    status, out, _ = lop("data", "verify", source)
    assert (status, "no dataset.json" in out, "valid" in out) == (0, True, True)
    floats[1, 4, 0, 0, 0] = np.nan
    np.save(source / "classes" / "1.npy", floats[1])
    status, out, _ = lop("data", "verify", source)
    assert (status, "1.npy: image 4 holds values that are not finite" in out) == (1, True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "lop images 9"}', '{"format": 3, "x": 1}'])
def test_an_invalid_manifest_is_refused(here, lop, content):
    lop("data", "import", make_source(here, "npy", make_images()), "--to", "set")
    (here / "set" / "dataset.json").write_text(content)
    status, _, error = lop("data", "info", "set")
    assert status == 2
    assert "set/dataset.json: " in error
    assert error.count("\n") == 1


def test_info_prints_a_table_json_or_sample_images(here, lop):
    images = make_images()
    lop("data", "import", make_source(here, "folder", images), "--to", "set")
    status, out, _ = lop("data", "info", "set")
    assert status == 0
    assert "folder (folder)" in out
    facts = json.loads(lop("data", "info", "set", "--json", "-o", "x.png")[1])
    assert (facts["num_classes"], facts["num_images"], facts["train_images"]) == (4, 36, 8)
    np.testing.assert_allclose(facts["channel_means"], images.mean((0, 1, 3, 4)))
    lop("data", "info", "set", "-o", "some.png", "--classes", f"3,{WNIDS[1]}", "--images", "2")
    shown = np.asarray(Image.open("some.png"))
    assert shown.shape == (2 * 66 + 2, 2 * 66 + 2, 3)
    assert (shown[2:66:2, 68:132:2] == images[3, 1].transpose(1, 2, 0)).all()
    assert (shown[68:132:2, 2:66:2] == images[1, 0].transpose(1, 2, 0)).all()
    for arguments, message in [(["--classes", "9"], "no such class"), (["-o", "x.jpg"], "the picture is a PNG")]:
        status, _, error = lop("data", "info", "set", *arguments)
        assert (status, message in error) == (2, True)


def test_info_describes_a_folder_that_was_not_imported(here, lop):
    source = make_source(here, "npy", make_images().astype(np.float32) / 255)
    facts = json.loads(lop("data", "info", source, "--json")[1])
    assert (facts["normalisation"], facts["maximum"], facts["sha256"]) == ("none", 1, "")


def test_info_names_the_source_of_synthetic_images_once(here, lop):
    lop("data", "synth", "-o", "set", "--classes", "4", "--train-images", "10", "--test-images", "5")
    assert json.loads(lop("data", "info", "set", "--json")[1])["source"] == "synthetic (dataset seed 0)"


def test_half_block_art_draws_two_pixels_in_each_character(here, lop):
    images = np.zeros((4, 3, 3, 32, 32), np.uint8)
    images[:, :, 0, :2] = 200
    lop("data", "import", make_source(here, "folder", images), "--to", "set")
    art = data_sets.half_blocks(ClassFolder.open(here / "set"), [0], 2)
    lines = art.plain.splitlines()
    assert lines[0] == f"0  {WNIDS[0]}"
    assert lines[1] == "▀" * 16 + " " + "▀" * 16 + " "
    assert len(lines) == 9
    assert str(art.spans[0].style) == "rgb(200,0,0) on rgb(0,0,0)"


def test_images_are_drawn_only_on_terminals_with_colour(here, monkeypatch):
    source = make_source(here, "npy", make_images())
    for terminal, no_color in [(True, False), (True, True), (False, False)]:
        shown = io.StringIO()
        console = Console(file=shown, force_terminal=terminal, no_color=no_color, width=80, color_system="truecolor")
        monkeypatch.setattr("lop_tui.words.console.Console", lambda console=console: console)
        assert info(source) == 0
        assert ("▀" in shown.getvalue()) == (terminal and not no_color)


def test_synth_writes_the_images_of_data_synthetic(here, lop):
    status, out, _ = lop("data", "synth", "--to", "set", "--classes", "3", "--train-images", "5", "--seed", "4")
    assert status == 0
    assert "3 classes, 315 images (uint8), 5 train, 100 test" in out.replace("set: ", "")
    folder = ClassFolder.open(here / "set")
    for index in range(3):
        assert (folder.mapped(index) == SyntheticImages(3, 4).images(index, 105)).all()


@pytest.mark.long
def test_a_class_order_is_imported_checked_and_trained_on(here, lop):
    (here / "class_order").write_bytes(pickle.dumps([np.random.default_rng(s).permutation(1000) for s in range(3)]))
    status, out, _ = lop("data", "import-order", "class_order")
    assert status == 0
    assert "note: a row holds 500 tasks; in a run of 5000 they repeat" in out
    assert "data/class_order.npy: 3 seeds, 1000 classes per row" in out
    assert (np.load("data/class_order.npy")[2] == np.random.default_rng(2).permutation(1000)).all()
    assert "exists already" in lop("data", "import-order", "class_order")[2]
    status, out, _ = lop("data", "import-order", "class_order", "--replace", "--num-tasks", "500")
    assert (status, "note" in out) == (0, False)
    lop("data", "import", make_source(here, "npy", make_images()), "--to", "set")
    status, _, error = lop("data", "import-order", "class_order", "--data", "set", "--to", "other.npy")
    assert (status, "classes 0 to 999, the images have 0 to 3" in error) == (2, True)
    assert not (here / "other.npy").exists()
    (here / "tiny.json").write_text(json.dumps(TINY | {"class_order": "order.csv", "num_tasks": 1}))
    (here / "order.csv").write_text("0,1,2\n2,1,0\n")
    assert lop("run", "tiny.json", "--seeds", "0,1")[0] == 0
    classes = [read_table(run.tasks_json)[0]["classes"] for run in find_runs(here / "runs")]
    assert classes == [[0, 1], [2, 1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "nowhere"], "nowhere: no such file or folder"),
        (["import", ".", "--to", "x"], "source and target lie in each other"),
        (["import-order", "nowhere"], "nowhere: no such class order"),
        (["info", "nowhere"], "nowhere"),
        (["info"], "data/imagenet32"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(here, lop, arguments, message):
    status, out, error = lop("data", *arguments)
    assert (status, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.long
def test_an_interrupted_import_leaves_no_data_set(here, number):
    command = [sys.executable, "-m", "lop_tui", "data", "synth", "--to", "set", "--classes", "2000"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (here / ".set.importing" / "classes").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(child.pid, number)
    out, error = child.communicate(timeout=30)
    assert "Traceback" not in error
    assert not (here / "set").exists()
    if number == signal.SIGINT:
        assert child.returncode == 130
        assert "interrupted; nothing half done is left at set" in out
        assert list(here.iterdir()) == []
    again = subprocess.run([*command[:-1], "3"], capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stderr
    assert [path.name for path in here.iterdir()] == ["set"]
