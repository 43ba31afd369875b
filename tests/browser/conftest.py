"""These tests need Chromium. `make test-web` runs them; other targets do not collect them."""

import os

import pytest

from tests.browser.chromium import INSTALL, PROGRAM

collect_ignore_glob = [] if "LOP_BROWSER" in os.environ else ["test_*.py"]


def pytest_configure() -> None:
    if "LOP_BROWSER" in os.environ and not PROGRAM:
        pytest.exit(INSTALL, returncode=1)
