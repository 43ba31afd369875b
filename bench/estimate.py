"""``python -m bench.estimate``: compares the estimate of `lop run --dry-run` with the time that the command takes."""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

CFG = Path(__file__).parents[1] / "cfg"
UNITS = {"s": 1, "min": 60, "h": 3600, "days": 86400}

#: Short runs, from the compressed protocol to the paper's protocol with metrics after every epoch.
SHORT = {
    "demo, bp and cbp": "demo/bp.json demo/cbp.json --seeds 1 --set num_tasks=40",
    "demo, snp, four seeds": "demo/snp.json --seeds 4 --set num_tasks=20",
    "paper's sizes, training alone": "cbp.json --seeds 2 --data synthetic --set num_tasks=2 --set num_showings=25 "
    "--set metrics_every=0",
    "paper's sizes and metrics": "l2.json --seeds 2 --data synthetic --set num_tasks=1 --set num_showings=5 "
    "--set curvature_every=1",
}


def lop(arguments: list[str], directory: str) -> str:
    """Run the command in a directory without earlier runs; return what it printed."""
    words = [str(CFG / word) if word.endswith(".json") else word for word in arguments]
    command = [sys.executable, "-m", "lop_tui", "run", *words, "--runs-dir", f"{directory}/runs"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def estimated_seconds(arguments: list[str], directory: str) -> float:
    """Return the estimate, in seconds."""
    output = lop([*arguments, "--dry-run"], directory)
    match = re.search(r"about ([\d.]+) (s|min|h|days) on", output)
    assert match, output
    return float(match[1]) * UNITS[match[2]]


def main() -> None:
    description = "Compare the estimate of lop run --dry-run with the time that the command takes; some minutes."
    argparse.ArgumentParser(prog="python -m bench.estimate", description=description).parse_args()
    table = Table(title="lop run --dry-run, and then the run")
    for heading in ("", "estimated, s", "taken, s", "taken / estimated"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, typed in SHORT.items():
        arguments = typed.split()
        with tempfile.TemporaryDirectory() as directory:
            estimated = estimated_seconds(arguments, directory)
            began = time.perf_counter()
            lop(arguments, directory)
            taken = time.perf_counter() - began
        table.add_row(name, f"{estimated:.0f}", f"{taken:.0f}", f"{taken / estimated:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
