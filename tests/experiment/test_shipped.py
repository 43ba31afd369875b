"""The experiments that come with lop: loading by name, listing, copying, and the wheel that contains them."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from lop_engine.errors import ConfigError
from lop_engine.experiment.run import comment, load_runs, shipped
from lop_engine.extras import install_hint
from lop_tui.cli import main
from tests.helpers import ROOT


def lop(monkeypatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["lop", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_every_file_of_cfg_ships_with_lop_and_loads_by_name():
    names = {path.relative_to(ROOT / "cfg").with_suffix("").as_posix() for path in (ROOT / "cfg").rglob("*.json")}
    assert set(shipped()) == names
    for name in names:
        [first, *_] = load_runs(Path(name), seeds=[0])
        assert first.experiment == name.rpartition("/")[2]
        assert comment(shipped()[name])


def test_a_file_in_the_working_directory_wins_over_a_shipped_one_with_a_note():
    content = json.loads(shipped()["demo/bp"].read_text()) | {"num_tasks": 7}
    Path("snp.json").write_text(json.dumps(content))
    notes: list[str] = []
    [first, *_] = load_runs(Path("snp"), seeds=[0], notes=notes)
    assert (first.experiment, first.spec.num_tasks) == ("snp", 7)
    assert notes == ["snp.json: this file is used, not the experiment snp that comes with lop"]
    notes.clear()
    load_runs(Path("snp.json"), seeds=[0], notes=notes)  # a path is unambiguous, so there is no note
    assert not notes


def test_the_suffix_of_an_experiment_file_may_be_omitted():
    Path("mine.json").write_text(shipped()["demo/bp"].read_text())
    assert load_runs(Path("mine"), seeds=[0])[0].experiment == "mine"


@pytest.mark.parametrize(("typed", "meant"), [("snpp", "snp"), ("demo/bq", "demo/bp"), ("mime", "mine")])
def test_an_unknown_experiment_is_refused_with_the_nearest_name(typed, meant):
    Path("mine.json").write_text("{}")
    with pytest.raises(ConfigError, match=f'no such file; did you mean "{meant}"'):
        load_runs(Path(typed))


def test_lop_configs_lists_and_copies_the_shipped_files(monkeypatch, capsys):
    assert lop(monkeypatch, "configs") == 0
    listed = capsys.readouterr().out
    assert all(any(line.startswith(f"{name} ") for line in listed.splitlines()) for name in shipped())
    assert lop(monkeypatch, "configs", "demo/cbp") == 0
    assert capsys.readouterr().out == shipped()["demo/cbp"].read_text()
    assert lop(monkeypatch, "configs", "cbpp") == 2
    assert 'did you mean "cbp"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prefix", "has_pip", "command"),
    [
        ("/home/me/.local/share/pipx/venvs/lop-lab", True, "pipx inject lop-lab 'pyarrow>=15'"),
        ("/home/me/.local/share/uv/tools/lop-lab", False, "uv pip install --python"),
        ("/home/me/env", True, "-m pip install 'pyarrow>=15'"),
    ],
)
def test_the_install_hint_for_an_optional_package_fits_the_installation(monkeypatch, prefix, has_pip, command):
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr("lop_engine.extras.find_spec", lambda name: object() if has_pip else None)
    assert command in install_hint("parquet")
    assert "lop[" not in install_hint("parquet")


def test_the_wheel_contains_the_experiments_and_all_other_data(tmp_path):
    source = tmp_path / "source"
    for name in ("lop_engine", "lop_tui", "cfg"):
        copytree(ROOT / name, source / name, symlinks=True, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("lop_lab-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    ours = [
        path.relative_to(ROOT).as_posix() for name in ("lop_engine", "lop_tui") for path in (ROOT / name).rglob("*.*")
    ]
    assert {name for name in ours if "__pycache__" not in name} <= set(names)
    assert {f"lop_engine/configs/{name}.json" for name in shipped()} <= set(names)
