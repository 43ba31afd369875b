"""Settings with long names stay distinct in 80 columns."""

import json

from typer.testing import CliRunner

from lop_tui import cli
from lop_tui.commands.training import conclude, identities
from lop_tui.words.console import Console
from tests.helpers import make_run, tiny

SETTINGS = [f"momentum={momentum},step_size={size}" for momentum in (0.5, 0.95) for size in (0.001, 0.003)]


def test_the_plan_of_a_sweep_shows_whole_names(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    swept = tiny(agent="bp", step_size=[0.001, 0.003], momentum=[0.5, 0.95])
    (tmp_path / "sweep.json").write_text(json.dumps(swept))
    output = CliRunner().invoke(cli.app, ["run", str(tmp_path / "sweep.json"), "--dry-run", "--no-estimate"]).stdout
    assert "…" not in output
    assert max(map(len, output.splitlines())) <= 80


def test_the_status_of_a_sweep_shows_whole_names(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for setting in SETTINGS:
        make_run(tmp_path, "bp", setting=setting)
    output = CliRunner().invoke(cli.app, ["status", "--runs-dir", str(tmp_path)]).stdout
    assert "…" not in output
    assert max(map(len, output.splitlines())) <= 80


def test_the_summary_of_a_sweep_shows_whole_names(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    dirs = [make_run(tmp_path, "bp", setting=setting) for setting in SETTINGS]
    console = Console()
    with console.capture() as captured:
        conclude(console, tmp_path, identities(dirs))
    assert "…" not in captured.get()
