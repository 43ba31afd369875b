"""docs/dashboard.md, with its keys from the bindings: ``python -m tests.dashboard_document > docs/dashboard.md``.

Its pictures, of runs that exist: ``python -m tests.dashboard_document RUNS_DIR``.
"""

import asyncio
import sys
from pathlib import Path

from lop_engine.runs import RunsReader, Snapshot
from lop_tui.dashboard.app import Dashboard

DOCS = Path(__file__).parents[1] / "docs"

#: Pictures by the keys that lead to them.
PICTURES = {
    "dashboard": ["left", "shift+left"],
    "dashboard-seeds": ["e", "left"],
    "dashboard-compare": ["c"],
}

TEXT = """\
# The dashboard

    lop watch                       # the runs under runs/
    lop watch runs/demo             # those of another directory
    lop watch --where "method:cbp seed:<5"
    lop run cfg/cbp.json --seeds 30 --watch

`lop watch` shows all runs of a directory live: mean and band over seeds, a line a method and setting, each in the same colour
everywhere, in `lop plot` too. It only reads (stopping and resuming aside), so any number of dashboards may look at the
same runs, also from another machine on a shared file system. It can be left and opened again at any time; what was chosen
last (filter, bins, scales, theme ...) is kept for each runs directory, in your own state directory.

![overview](dashboard.svg)

## Charts

The table has a row for each method and setting: seeds by state, tasks done, test accuracy in the last bin as mean ± standard
error over seeds (`n=4/5` where one of five seeds has not got so far), tasks a minute, time left, device. Below it (beside it,
where the terminal is wide and the rows are many) there is a chart of each metric: the usual six first, all others that were recorded
on the next page (`]`).

- A line is the **mean over seeds of bins of tasks**; its band is one standard error either way. `s` shows every seed instead.
  Bins suit the range that is shown, up to the paper's 50 tasks; `b` chooses. `w` smooths over bins; the raw line stays, faint.
- **Enter**, a click or a digit enlarges a chart; its legend then tells every method's value.
- **Cursor**: ← → or the mouse. All charts tell their values at the same task.
- **Range**: `+` `-` or the wheel zoom, `,` `.` or dragging move, `t` takes a typed range (`100-500`), `0` shows all again. All
  charts share it.
- `x` counts the axis in tasks, steps or hours; `g` changes the chart under the focus (Tab) to a log scale and back.
- ◇ marks the **published levels** of the Nature paper where a run's protocol is the paper's; `r` hides them.

## Each seed

![single seeds](dashboard-seeds.svg)

`e` shows the setting under the cursor seed by seed: a heat map of one metric over tasks (which seed dies when), a table (last and best bin,
what was lost since the best, dormant units) that `o` or a click on a heading sorts, and the epochs inside the task at the cursor, from
`epochs.json`.

## Comparison

![comparison](dashboard-compare.svg)

`c` shows the difference of two settings, seed by seed: the same seed sees the same tasks under every method, so differences are paired.
The band is the 95 % interval by Student's t; the words above say from which task on it excludes zero for good.

## Filter

`/` takes words that must all hold: `method:cbp`, `setting:0.01`, `seed:<5`, `seed:0-4,9`, `state:failed,lost`, `device:cuda`,
`progress:<50%`, any part of a run's name; `-state:finished` means not. What is wrong is said as you type. `lop status` and `lop plot` take the
same words after `--where`.

## Control

`S` stops, and `R` resumes or retries, the runs under the cursor: a whole setting in the first view, one seed in the view of seeds. Both
ask first, and say what else is touched (seeds that train in the same worker stop together). Resumed runs train in the background. `l`
shows the log of the worker, live and searchable, behind the whole error of a run that failed. The line above the footer says what workers, GPUs
and machine are busy with (GPUs: `pip install lop[gpu]`).

## Without a terminal

`lop watch --once` prints one frame as text, `lop watch --json` its numbers: states, and each metric's mean, standard error and number of
seeds by bin. `P` saves a picture of the screen (SVG), `p` the figure that `lop plot` draws of what is shown. `NO_COLOR` is honoured: lines are
then told apart by their markers. `m` draws with braille, blocks or plain ASCII, for fonts and terminals that lack the others.

## Replay

`y` shows again how it came about, from the first task; `>` and `<` change the speed, space holds it, `y` ends it.

## Keys

`?` shows these, those of the present view first; ctrl+p finds each by name.
"""


def build() -> str:
    """The whole page."""
    parts = [TEXT]
    for part, keys in Dashboard(lambda: Snapshot(Path("runs"))).key_table():
        rows = [f"| {_code(key)} | {description} |" for key, description in keys.items()]
        parts.append("\n".join([f"### {part}\n", "| key | does |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _code(keys: str) -> str:
    return " ".join(f"`{key}`" for key in keys.split())


async def take_pictures(runs_dir: Path) -> None:
    """Write the page's pictures."""
    for name, keys in PICTURES.items():
        app = Dashboard(RunsReader(runs_dir).read)
        async with app.run_test(size=(140, 42)) as pilot:
            while app.view is None:
                await pilot.pause(0.1)
            for key in keys:
                await pilot.press(key)
                await pilot.pause(1)
            await pilot.pause(2)
            (DOCS / f"{name}.svg").write_text(app.export_screenshot(title="lop watch"))


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(take_pictures(Path(sys.argv[1])))
    else:
        print(build(), end="")
