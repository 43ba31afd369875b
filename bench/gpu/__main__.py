"""``python -m bench.gpu`` (``make gpu-check``): check a GPU, and time it.

Checks run before timings. Both sets have a time limit, and each stage writes its result when it ends. The output
folder then holds correctness.json, timings.json, summary.md, profile.txt and log.txt. Exit status 1 if a check failed.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.gpu import wheels
from bench.gpu.results import Results, check_table, figure_tables, headline, markdown, plain_text
from bench.gpu.runner import DeviceError, run_group
from bench.gpu.stages import GROUPS, STAGES, Stage, choose

LIMIT_S = 300.0
FILES = ("correctness.json", "timings.json", "summary.md", "profile.txt", "log.txt")


def main() -> int:
    args = _parse()
    if args.list:
        print(plain_text([(stage.name, stage.group, stage.description) for stage in STAGES]))
        return 0
    try:
        stages = choose(args.only)
    except ValueError as error:
        print(f"--only: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="lop-gpu-check-") as target:
        if wheels.missing_packages() and (problem := wheels.install(Path(target))):
            print(problem, file=sys.stderr)
            return 2
        return _run(args, stages, target)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Check a GPU, and time it.")
    parser.add_argument("--device", default="cuda:0", help="cuda:0, cuda:1 ...; cpu only tests the check itself")
    parser.add_argument("--small", action="store_true", help="small networks and stacks, to test the check itself")
    names = f"a stage, or a set ({', '.join(GROUPS)}); repeatable"
    parser.add_argument("--only", action="append", default=[], metavar="STAGE", help=names)
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help=f"seconds a set ({LIMIT_S:.0f})")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("gpu-check"), metavar="DIR", help="output folder (gpu-check)"
    )
    parser.add_argument("--list", action="store_true", help="list the stages and exit")
    return parser.parse_args()


def _run(args: argparse.Namespace, stages: list[Stage], packages: str) -> int:
    """Run the stages set by set, print the tables, and return the exit status."""
    args.out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (args.out / name).unlink(missing_ok=True)
    typed = " ".join(["python -m bench.gpu", *sys.argv[1:]])
    about = {"command": typed, "date": time.strftime("%Y-%m-%d"), "small": args.small}
    results = Results(args.out, about)
    command = [sys.executable, "-m", "bench.gpu.child", "--device", args.device, *(["--small"] if args.small else [])]
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    interrupted = False
    try:
        for group in GROUPS:
            chosen = [stage for stage in stages if stage.group == group]
            run_group(chosen, command, _environment(packages), results, args.limit, args.out / "log.txt", say)
    except KeyboardInterrupt:
        interrupted = True
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    (args.out / "summary.md").write_text(markdown(results), encoding="utf-8")
    _print(results)
    print(f"\n{args.out}: {', '.join(name for name in FILES if (args.out / name).exists())}")
    return 130 if interrupted else int(results.failed)


def _environment(packages: str) -> dict[str, str]:
    """Put the checkout and the wheels before installed packages."""
    paths = [str(wheels.ROOT), packages, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUNBUFFERED": "1"}


def _print(results: Results) -> None:
    print(headline(results.about))
    for title, table in figure_tables(results).items():
        print(f"\n{title}\n{plain_text(table)}")
    print(f"\n{plain_text(check_table(results))}")
    verdicts = [line.verdict for line in results.lines]
    counts = [f"{verdicts.count(each)} {each}" for each in dict.fromkeys(verdicts)]
    print(f"\n{', '.join(counts)}")


if __name__ == "__main__":
    sys.exit(main())
