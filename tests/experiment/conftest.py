"""Fixtures that write experiment files and read the messages about their mistakes."""

import json

import pytest

from lop_engine.errors import ConfigError
from lop_engine.experiment.run import load_runs

SMALL = {"agent": "bp", "step_size": 0.01, "num_tasks": 10, "num_showings": 2}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bp.json"


@pytest.fixture
def load(path):
    def load(content, **kwargs):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return load_runs(path, **kwargs)

    return load


@pytest.fixture
def mistake(load, path):
    """Return the message for a file's content, without the path that it begins with."""

    def mistake(content, **kwargs):
        with pytest.raises(ConfigError) as error:
            load(content, **kwargs)
        message = str(error.value)
        assert "\n" not in message
        assert len(message) < 250 + len(str(path))
        assert message.startswith(f"{path}: ")
        return message.removeprefix(f"{path}: ")

    return mistake
