"""Tests with real faults. `make test-faults` runs the long form, with FAULTS=short the short one."""

import os

import pytest

IS_LONG = os.environ.get("LOP_FAULTS") == "long"


@pytest.fixture
def is_long() -> bool:
    return IS_LONG
