"""``python -m bench.gpu.wheels``: fetch wheels for a GPU machine that cannot reach a package index.

This assumes that the machine has Python 3.12, torch and the usual scientific packages. It downloads the other packages
that lop needs, in the versions of constraints.txt, to .whl/ in the checkout; the check installs them from there into a
temporary folder.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".whl"

#: Import names of packages that such machines often lack; the wheels are installed if one is missing.
MISSING = {
    "annotated_types": "annotated-types",
    "linkify_it": "linkify-it-py",
    "mdit_py_plugins": "mdit-py-plugins",
    "orjson": "orjson",
    "platformdirs": "platformdirs",
    "plotext": "plotext",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic_core",
    "textual": "textual",
    "tinydb": "tinydb",
    "typing_inspection": "typing-inspection",
}

#: Packages that are usually there but may be too old for lop, and those that its tests need.
BESIDES = ("filelock", "rich", "typer", "typing_extensions", "pytest-asyncio")

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def missing_packages() -> list[str]:
    """The packages that cannot be imported here."""
    return [package for module, package in MISSING.items() if importlib.util.find_spec(module) is None]


def install(target: Path) -> str:
    """Install the fetched wheels into `target`; return "" or what went wrong and what to do."""
    wheels = sorted(map(str, FOLDER.glob("*.whl")))
    missing = ", ".join(missing_packages())
    if not wheels:
        return f"{missing}: not installed; pip install -e . here, or fetch wheels with python -m bench.gpu.wheels"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    done = subprocess.run([*command, "--target", str(target), *wheels], capture_output=True, text=True)
    if done.returncode:
        return f"{FOLDER}: the wheels cannot be installed: {done.stderr.strip().splitlines()[-1]}"
    return ""


def fetch(folder: Path, python: str) -> int:
    """Download the wheels for x86-64 Linux; return pip's exit status."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", python, "--dest", str(folder)]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    names = [*MISSING.values(), *BESIDES]
    return subprocess.run([*command, "--constraint", str(ROOT / "constraints.txt"), *names]).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.wheels", description="Fetch wheels for another machine.")
    parser.add_argument("--python", default="3.12", help="its Python (3.12)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to put them (.whl in the checkout)")
    args = parser.parse_args()
    status = fetch(args.folder, args.python)
    if status == 0:
        size = sum(path.stat().st_size for path in args.folder.glob("*.whl"))
        print(f"{len(list(args.folder.glob('*.whl')))} wheels, {size / 2**20:.1f} MiB, in {args.folder}")
    return status


if __name__ == "__main__":
    sys.exit(main())
