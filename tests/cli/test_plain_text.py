"""Control characters and formulas in names, errors and logs never reach a terminal or a spreadsheet."""

import csv
import io
import json
from dataclasses import replace

import pytest
from rich.table import Table
from rich.text import Text

from lop_engine.exchange import export_runs
from lop_engine.runs.directory import RunDir, write_json
from lop_engine.runs.reading import RunsReader
from lop_engine.text import plain
from lop_tui import cli
from lop_tui.words.console import Console, say
from tests.cli.test_views import lop, refused
from tests.helpers import make_run

EVIL = "\x1b]0;title\x07\x1b[2J\x1b[31mred\x9b31m\r\x08\u202e"


@pytest.fixture
def runs_dir(tmp_path):
    """A run with control characters in its names, status, configuration and log."""
    directory = tmp_path / "runs"
    evil = make_run(directory, f"a{EVIL}", setting=f"s{EVIL}", state="failed", num_tasks=60, error=f"why {EVIL}")
    evil.write_status(
        replace(evil.read_status(), note=f"note {EVIL}", host=f"host {EVIL}", device=f"cpu{EVIL}", job="1")
    )
    write_json(evil.run_json, evil.read_config() | {"versions": {f"torch{EVIL}": EVIL}, "host": EVIL})
    evil.log.write_text(f"line {EVIL}end\nno newline{EVIL}")
    make_run(directory, "[red]b", num_tasks=60, state="stopped")
    make_run(directory, "[red]b", 1, num_tasks=60)
    return directory


def is_plain(text: str) -> bool:
    return all(one.isprintable() or one == "\n" for one in text)


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["list"],
        ["show", "a*/*/0"],
        ["logs", "a*/*/0"],
        ["logs", "a*/*/0", "-n", "1"],
        ["watch", "--once"],
        ["compare", "a*", "[[]red]b"],
        ["compare", "a*", "[[]red]b", "--markdown"],
        ["check"],
        ["stop", "*"],
        ["resume", "a*/*/0", "--device", "cpu"],
        ["doctor"],
        ["plot"],
    ],
    ids=" ".join,
)
def test_no_command_lets_a_control_character_through(runs_dir, monkeypatch, capsys, command):
    monkeypatch.setattr("sys.argv", ["lop", *command, "--runs-dir", str(runs_dir)])
    with pytest.raises(SystemExit):
        cli.main()
    output = capsys.readouterr()
    assert output.out + output.err
    assert is_plain(output.out)
    assert is_plain(output.err)


def test_a_report_contains_no_control_characters(runs_dir, tmp_path):
    lop("report", "--runs-dir", runs_dir, "-o", tmp_path / "report.html")
    assert is_plain((tmp_path / "report.html").read_text())


def test_markup_in_names_is_printed_literally(runs_dir):
    for command in ("status", "list"):
        assert "[red]b" in lop(command, "--runs-dir", runs_dir)


def test_an_error_shows_control_characters_of_a_name_escaped(monkeypatch, capsys, tmp_path):
    output = refused(monkeypatch, capsys, "run", tmp_path / "x\x1b[31m\n.json")
    assert is_plain(output)
    assert output.count("\n") == 1
    assert "\\x1b[31m\\n" in output


def texts_in(value) -> list[str]:
    """Yield every string in a JSON value."""
    if isinstance(value, dict):
        return texts_in(list(value.values()))
    return [text for one in value for text in texts_in(one)] if isinstance(value, list) else [str(value)]


@pytest.mark.parametrize("command", [["status"], ["list"], ["show", "a*/*/0"], ["watch"]])
def test_json_is_valid_and_contains_names_unchanged(runs_dir, command):
    made = make_run(runs_dir, "caf\udce9", num_tasks=60, spec={"agent": "bp"})
    for name in (f"a{EVIL}", made.experiment):
        selected = [*command[:1], f"{name}/*/0"] if command[0] == "show" else command
        content = lop(*selected, "--json", "--runs-dir", runs_dir)
        assert any(name in text for text in texts_in(json.loads(content)))


@pytest.mark.parametrize("epochs", [False, True])
@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=cmd|' x'!A1", "'=cmd|' x'!A1"),
        ("+1", "'+1"),
        ("-x", "'-x"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", None),
        ("\r=1", "'=1"),
        ("\x1b[31m=1", "'=1"),
        ("a\x1b[31mb", "ab"),
        ("caf\udce9", "caf?"),
        ("bp", "bp"),
        ("a=1,b=-2", "a=1,b=-2"),
    ],
)
def test_names_cannot_become_spreadsheet_formulas_and_numbers_stay_numbers(tmp_path, name, cell, epochs):
    make_run(tmp_path / "runs", name, 3, setting=name, num_tasks=2, spec={"agent": "bp"})
    export_runs(RunsReader(tmp_path / "runs").read().runs, "csv", tmp_path / "a.csv", epochs=epochs)
    with open(tmp_path / "a.csv", newline="") as file:
        heading, *rows = csv.reader(file)
    row = dict(zip(heading, rows[0], strict=True))
    for key in ("experiment", "setting"):
        assert row[key] == cell or (cell is None and row[key].startswith("'") and row[key].isprintable())
    assert row["seed"] == "3"
    assert float(row["test_accuracy"]) > 0


def test_table_columns_stay_aligned_with_any_characters_in_names():
    console = Console(file=io.StringIO(), width=60)
    table = Table("name", "state")
    for name in ("plain", f"evil{EVIL}", "中文", "[bold]x", ":warning:"):
        table.add_row(name, "ok")
    table.add_row(Text(f"text{EVIL}"), "ok")
    console.print(table)
    lines = console.file.getvalue().splitlines()
    assert len({len(line.encode("utf-16-le")) for line in lines if "中" not in line}) == 1
    assert all(is_plain(line) for line in lines)
    assert ":warning:" in console.file.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[1mb\x1b[0m", "ab"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\tb", "a       b"),
        ("é±", "é±"),
    ],
)
def test_control_characters_are_removed_or_escaped_in_a_line(text, shown):
    assert plain(text) == shown


def test_characters_that_an_encoding_lacks_are_replaced():
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", errors="replace"), width=60)
    say(console, "88.9 ± 1.8 …")
    console.file.flush()
    assert raw.getvalue() == b"88.9 +- 1.8 ~\n"


def test_a_run_name_may_contain_any_characters_of_a_directory_name(tmp_path):
    assert RunDir(make_run(tmp_path, f"a{EVIL}", num_tasks=1).path).experiment == f"a{EVIL}"
