"""Tests cannot read the checkout's runs, images and options, or the home of the user who runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs import user_cache_path, user_config_path, user_state_path

from tests.filled import run_tests

CHOSEN = (
    "tests/test_isolation.py",
    "--deselect=tests/test_isolation.py::test_tests_pass_in_a_filled_checkout_with_a_filled_home",
    "tests/dashboard/test_app.py::test_a_directory_without_runs_shows_advice",
    "tests/dashboard/test_pictures.py::test_no_runs",
    "tests/launch/slurm/test_options.py",
    "tests/launch/slurm/test_submission.py",
)

LOOK = """
import json, os
from pathlib import Path
from platformdirs import user_config_path
print(json.dumps([os.getcwd(), os.listdir(), str(Path.home()), os.path.exists(user_config_path("lop"))]))
"""


@pytest.fixture(scope="module")
def directories_in_a_module_fixture() -> tuple[Path, list[str]]:
    return Path.home(), os.listdir()


def test_a_test_starts_with_an_empty_home_and_working_directory():
    assert os.listdir() == os.listdir(Path.home()) == []
    for path in (user_config_path("lop"), user_cache_path("lop"), user_state_path("lop")):
        assert path.is_relative_to(Path.home())
        assert not path.exists()
    assert not [name for name in os.environ if name.startswith(("LOP_", "XDG_", "SLURM_JOB", "COLUMNS"))]
    assert os.environ["SLURM_CONF"] == os.devnull or "LOP_CLUSTER" in os.environ


def test_a_test_may_leave_files_and_variables():
    for path in (Path("runs/bp"), user_config_path("lop")):
        path.mkdir(parents=True)


def test_the_next_test_starts_with_an_empty_home_and_working_directory():
    test_a_test_starts_with_an_empty_home_and_working_directory()


def test_fixtures_of_a_module_are_isolated(directories_in_a_module_fixture):
    home, listed = directories_in_a_module_fixture
    assert home.parent.name.startswith("lop-test-")
    assert listed == []


def test_a_child_process_inherits_the_isolation():
    output = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == [os.getcwd(), [], str(Path.home()), False]


@pytest.mark.long
def test_tests_pass_in_a_filled_checkout_with_a_filled_home(tmp_path):
    """Run some tests that would fail there without the isolation; ``make test-filled`` runs all."""
    done = run_tests(tmp_path, "-n", "0", *CHOSEN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
