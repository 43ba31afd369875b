"""Faults produced for real. `make test-faults` runs the long form, with FAULTS=short a short one."""

import os

import pytest

IS_LONG = os.environ.get("LOP_FAULTS") == "long"


@pytest.fixture
def is_long() -> bool:
    return IS_LONG
