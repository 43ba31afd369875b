"""A time limit, a hang or a crash loses at most one stage or one check."""

import json
import sys

from bench.gpu.results import Results
from bench.gpu.runner import run_group
from bench.gpu.stages import GROUP_OF, STAGES, Stage, choose
from tests.gpu_check.helpers import verdicts

FAKE_CHILD = """
import json, os, signal, sys, time
done = [word.removeprefix("--done=") for word in sys.argv[1:] if word.startswith("--done=")]
def emit(**event):
    print(json.dumps(event), flush=True)
def check(stage, name, verdict="PASS"):
    emit(event="line", stage=stage, line=dict(stage=stage, check=name, measured="1", criterion="1", verdict=verdict))
for stage in sys.argv[1 + len(done):]:
    emit(event="begin", stage=stage)
    check(stage, "first")
    if stage == "graphs":
        {trouble}
    emit(event="end", stage=stage, seconds=1.0)
"""


def run_fake(tmp_path, trouble: str, names=("golden", "graphs", "stack"), limit_s=60.0, stage_limit_s=60.0) -> Results:
    """Run stages in a child that fails in the stage "graphs"."""
    stages = [Stage(name, GROUP_OF[name], "", stage_limit_s, name) for name in names]
    results = Results(tmp_path)
    command = [sys.executable, "-c", FAKE_CHILD.format(trouble=trouble)]
    run_group(stages, command, {}, results, limit_s, tmp_path / "log.txt", lambda text: None)
    return results


def by_stage(results: Results) -> dict[str, list[str]]:
    return {stage.name: [line.verdict for line in results.lines if line.stage == stage.name] for stage in STAGES}


def test_a_stage_that_hangs_does_not_stop_the_others(tmp_path):
    results = run_fake(tmp_path, "time.sleep(60)", stage_limit_s=1.0)
    verdicts = by_stage(results)
    assert (verdicts["golden"], verdicts["graphs"], verdicts["stack"]) == (
        ["PASS"],
        ["PASS", "out of time"],
        ["PASS"],
    )
    assert results.failed
    saved = json.loads((tmp_path / "correctness.json").read_text())
    assert [line["verdict"] for line in saved["lines"]] == ["PASS", "PASS", "out of time", "PASS"]


def test_a_stage_that_kills_its_process_fails_and_does_not_stop_the_others(tmp_path):
    verdicts = by_stage(run_fake(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"))
    assert (verdicts["golden"], verdicts["graphs"], verdicts["stack"]) == (["PASS"], ["PASS", "FAIL"], ["PASS"])


BREAKS = """
        for name in ("second", "third", "fourth"):
            if name not in done:
                check(stage, name, "FAIL" if {condition} else "PASS")
                if {condition}:
                    emit(event="end", stage=stage, seconds=1.0, broken=True, unfinished=True)
                    sys.exit()
"""


def test_a_check_that_breaks_cuda_is_followed_by_the_rest_in_a_new_process(tmp_path):
    results = run_fake(tmp_path, BREAKS.format(condition='name == "third"'))
    assert by_stage(results)["graphs"] == ["PASS", "PASS", "FAIL", "PASS"]
    assert by_stage(results)["stack"] == ["PASS"]
    assert results.checks_of("graphs") == ["first", "second", "third", "fourth"]


def test_a_stage_that_breaks_every_process_is_not_retried_forever(tmp_path):
    again = BREAKS.replace("not in done", "in ('second',)").format(condition="True")
    results = run_fake(tmp_path, again)
    assert by_stage(results)["graphs"] == ["PASS", "FAIL"]
    assert by_stage(results)["stack"] == ["PASS"]


def test_a_child_that_cannot_start_fails_every_stage_once(tmp_path):
    results = Results(tmp_path)
    log = tmp_path / "log.txt"
    run_group(choose(["correctness"]), [sys.executable, "-c", "import nothing"], {}, results, 60.0, log, print)
    assert {line.stage for line in results.lines} == {stage.name for stage in choose(["correctness"])}
    assert verdicts(results) == {"FAIL"}
    assert all("No module named 'nothing'" in line.measured for line in results.lines)


def test_timings_that_run_out_of_time_have_not_failed(tmp_path):
    results = run_fake(tmp_path, "pass", names=("steps", "profile"), limit_s=0.0)
    assert verdicts(results) == {"measured"}
    assert not results.failed
