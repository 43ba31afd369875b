"""`lop cite`: the papers behind the components of runs."""

import json
import re

from typer.testing import CliRunner

from lop_engine.experiment.catalogue import bibtex
from lop_engine.experiment.registry import METHODS
from lop_tui import cli
from tests.helpers import make_run


def cite(*arguments):
    result = CliRunner().invoke(cli.app, ["cite", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result


def test_every_paper_is_listed_once_below_the_components_that_cite_it(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "cbp", seed)
    make_run(tmp_path, "bp", spec={"metrics": ["test_accuracy", "srank"]})
    output = cite("--runs-dir", tmp_path).stdout
    keys = re.findall(r"^@\w+\{(\S+),", output, re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert keys[-1] == "lop"
    above = output[: output.index(bibtex(METHODS["cbp"].source))].splitlines()[-1]
    assert above.startswith("% ")
    assert "problem continual_imagenet" in above
    assert "method cbp" in above
    assert "metric srank" in output


def test_cite_takes_names_of_runs_and_writes_a_file(tmp_path):
    make_run(tmp_path / "runs", "cbp")
    make_run(tmp_path / "runs", "l2")
    file = tmp_path / "study.bib"
    assert cite("l2", "--runs-dir", tmp_path / "runs", "-o", file).stdout == ""
    assert "method l2" in file.read_text()
    assert "method cbp" not in file.read_text()


def test_unknown_components_are_named(tmp_path):
    run_dir = make_run(tmp_path, "cbp")
    config = json.loads(run_dir.run_json.read_text())
    config["spec"]["agent"] = "somebody_s"
    run_dir.run_json.write_text(json.dumps(config))
    result = cite("--runs-dir", tmp_path)
    assert "no source is known: agent somebody_s" in result.stderr
    assert "@software{lop," in result.stdout
