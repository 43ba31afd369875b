"""A copy of the checkout that contains runs, images and options, with a filled home; no test may read them.

``make test-filled`` runs the tests in such a copy of this checkout: ``python -m tests.filled [PYTEST ARGUMENT...]``.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lop_engine.datasets.importing import ImportOptions, import_images
from tests.datasets.makers import make_images, make_source
from tests.helpers import ROOT, make_run

INVALID_TOML = "[slurm\nthis is no TOML"
#: Variables that the shell of a user of lop may have set.
ENVIRONMENT = {
    "LOP_DETACHED": "1",
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "0",
    "SBATCH_PARTITION": "nowhere",
    "COLUMNS": "20",
    "NO_COLOR": "1",
}


def fill(directory: Path) -> tuple[Path, Path]:
    """Copy this checkout into `directory`, create a home there, fill both with files, and return both."""
    checkout, home = directory / "lop", directory / "home"
    shutil.copytree(ROOT, checkout, ignore=_not_copied)
    for folder in ("data", "runs"):  # as in a fresh clone
        (checkout / folder).mkdir()
        shutil.copy(ROOT / folder / "README.md", checkout / folder)
    for runs_dir in (checkout / "runs", checkout / "runs" / "demo"):
        _fill_with_runs(runs_dir)
    source = make_source(directory, "npy", make_images())
    import_images(source, checkout / "data" / "imagenet32", ImportOptions(), lambda *progress: None)
    (checkout / "lop.toml").write_text(INVALID_TOML)
    for folder in (".config/lop", ".cache/lop", ".local/state/lop/watch", "Library/Application Support/lop"):
        (home / folder).mkdir(parents=True)
        for name in ("lop.toml", "costs.json", "runs-0123456789ab.json"):
            (home / folder / name).write_text(INVALID_TOML)
    return checkout, home


def run_tests(directory: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run pytest with `arguments` in a filled copy of this checkout."""
    checkout, home = fill(directory)
    xdg = {f"XDG_{name}_HOME": str(home / folder) for name, folder in _XDG.items()}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=checkout,
        env=os.environ | ENVIRONMENT | xdg | {"HOME": str(home)},
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        **options,
    )


_XDG = {"CONFIG": ".config", "CACHE": ".cache", "STATE": ".local/state"}


def _not_copied(folder: str, names: list[str]) -> set[str]:
    ignored_at_root = {"data", "runs", "lop.toml"} if Path(folder) == ROOT else set()
    return {name for name in names if name.startswith(".") or name in {*ignored_at_root, "__pycache__"}}


def _fill_with_runs(runs_dir: Path) -> None:
    """Write finished, unfinished and damaged runs under the names that tests often use."""
    for method in ("bp", "cbp", "tiny"):
        for seed, state in enumerate(("finished", "finished", "stopped", "running", "queued")):
            make_run(runs_dir, method, seed, state=state, tasks_done=40 if state == "finished" else 7)
        damaged = [make_run(runs_dir, method, seed).path for seed in (5, 6, 7)]
        for path, name in zip(damaged, ("run.json", "status.json", "tasks.json"), strict=True):
            (path / name).write_text("{]")


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        sys.exit(run_tests(Path(place), *sys.argv[1:]).returncode)
