"""`lop data`: bring images in, check them, say what they are."""

import io
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lop_engine.datasets import ClassFolder, ClassOrder, SyntheticImages, read_class_order
from lop_engine.datasets.class_folder import Manifest
from lop_engine.datasets.importing import ImportOptions, Report, import_images, write_dataset
from lop_engine.datasets.importing.source import StandIn
from lop_engine.datasets.verify import Verified, verify
from lop_engine.errors import DataError
from lop_engine.files import replacing
from lop_tui import pictures
from lop_tui.commands.console import Console, as_argument, print_json, say


def import_data(source: Path, target: Path, options: ImportOptions) -> int:
    """Import `source` as the data set `target`. Raises DataError."""
    return _write(lambda report: import_images(source, target, options, report), target)


def write_synthetic(target: Path, num_classes: int, seed: int, options: ImportOptions) -> int:
    """Write the stand-in as the data set `target`. Raises DataError."""
    images = SyntheticImages(num_classes, seed)
    return _write(lambda report: write_dataset(StandIn(images), images.name, target, options, report), target)


def _write(work: Callable[[Report], tuple[Manifest, list[str]]], target: Path) -> int:
    console = Console()
    try:
        with _bars(console) as report:
            manifest, notes = work(report)
    except KeyboardInterrupt:
        say(console, f"interrupted; nothing half done is left at {target}")
        return 130
    for note in notes:
        say(console, f"note: {note}")
    images = sum(entry.images for entry in manifest.classes)
    say(console, f"{target}: {len(manifest.classes)} classes, {images} images ({manifest.dtype}), {manifest.split}")
    name = as_argument(target)
    say(console, f"train on it: lop run cfg/bp.json --data {name}    look at it: lop data info {name}")
    return 0


def import_class_order(
    file: Path, target: Path, data: Path | None, num_classes: int, num_tasks: int, replace: bool
) -> int:
    """Check a table of class orders and keep it as .npy. Raises DataError."""
    console = Console()
    order = read_class_order(file)
    order.check(ClassFolder.open(data).num_classes if data else 1000, num_classes)
    if target.suffix != ".npy":
        raise DataError(f"{target}: the table is kept as .npy; name it so")
    if target.exists():
        read_class_order(target)  # what is no table does not give way to one
        if not replace:
            raise DataError(f"{target}: is there already; name another place with --to FILE, or say --replace")
    content = io.BytesIO()
    np.save(content, order.rows)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, durable=True) as kept:
        kept.write(content.getvalue())
    for note in _order_notes(order, num_classes, num_tasks):
        say(console, f"note: {note}")
    say(console, f"{target}: {order.rows.shape[0]} seeds, {order.rows.shape[1]} classes a row")
    say(console, f"train with it: lop run cfg/bp.json --set {shlex.quote(f'class_order={target}')}")
    return 0


def _order_notes(order: ClassOrder, num_classes: int, num_tasks: int) -> list[str]:
    tasks = order.rows.shape[1] // num_classes
    if tasks >= num_tasks:
        return []
    return [f"a row holds {tasks} tasks; in a run of {num_tasks} the same ones come back, end to end"]


def verify_data(path: Path) -> int:
    """Read all of a data set and say what is wrong with it; return 1 if anything is."""
    console = Console()
    with _bars(console) as report:
        found = verify(path, report)
    for problem in found.problems:
        say(console, f"wrong: {problem}", style="red")
    for note in found.notes:
        say(console, f"note: {note}")
    if found.folder and not found.problems:
        images = sum(found.folder.counts)
        say(console, f"{path}: sound: {found.folder.num_classes} classes, {images} images, {_range(found)}")
    return 1 if found.problems else 0


def show_info(path: Path, output: Path | None, classes: str | None, images: int | None, as_json: bool) -> int:
    """Print what a data set holds, and a picture of it. Raises DataError."""
    folder = ClassFolder.open(path)
    if output is not None and output.suffix.lower() != ".png":
        raise DataError(f"{output}: the picture is a PNG; name it so")
    chosen = choose_classes(folder, classes)
    console = Console()
    facts = _facts(folder, console, as_json)
    if as_json:
        print_json(facts)
    else:
        console.print(_table(facts))
    if output is not None:
        shown = chosen or pictures.spread(folder.num_classes, 10)
        pictures.save(pictures.grid(folder, shown, images or 10), output)
        if not as_json:
            say(console, f"picture: {output}")
    elif not as_json and console.is_terminal and not console.no_color:
        across = min(images or 4, max(1, console.width // (pictures.COLUMNS + 1)))
        console.print(pictures.half_blocks(folder, chosen or pictures.spread(folder.num_classes, 3), across))
    return 0


def choose_classes(folder: ClassFolder, text: str | None) -> list[int]:
    """The classes that ``0,5,n01440764`` means, by number or by name. Raises DataError."""
    chosen = []
    by_name = {name: index for index, name in enumerate(folder.class_names)}
    for word in filter(None, (text or "").split(",")):
        if word in by_name:
            chosen.append(by_name[word])
        elif word.isdecimal() and len(word) < 9 and int(word) < folder.num_classes:
            chosen.append(int(word))
        else:
            raise DataError(f'--classes "{word}": no such class; there are 0 to {folder.num_classes - 1}')
    return chosen


def _facts(folder: ClassFolder, console: Console, quiet: bool) -> dict[str, object]:
    """What there is to say of a data set; one without a manifest is read for it."""
    manifest = folder.manifest
    facts: dict[str, object] = {
        "path": folder.name,
        "source": f"{manifest.source.get('path', '?')} ({manifest.source.get('format', '?')})"
        if manifest
        else "not imported by lop",
        "num_classes": folder.num_classes,
        "num_images": sum(folder.counts),
        "smallest_class": folder.num_images,
        "train_images": folder.split.train,
        "test_images": folder.split.test,
        "dtype": str(folder.dtype),
        "normalisation": "scaled" if folder.dtype == np.uint8 else "none",
        "sha256": folder.sha256,
    }
    if manifest:
        values = (manifest.minimum, manifest.maximum, manifest.channel_means, manifest.channel_stds)
    else:
        with _bars(console, quiet) as report:
            found = verify(folder.path, report)
        if found.problems:
            raise DataError(found.problems[0])
        values = (found.minimum, found.maximum, list(found.channel_means), list(found.channel_stds))
    return facts | dict(zip(("minimum", "maximum", "channel_means", "channel_stds"), values, strict=True))


def _table(facts: dict[str, object]) -> Table:
    table = Table(show_header=False)
    for key, value in facts.items():
        shown = "  ".join(f"{one:.4g}" for one in value) if isinstance(value, list) else str(value)
        table.add_row(key.replace("_", " "), Text(shown or "-", overflow="fold"))
    return table


def _range(found: Verified) -> str:
    return f"values {found.minimum:.4g} to {found.maximum:.4g}"


@contextmanager
def _bars(console: Console, quiet: bool = False) -> Iterator[Report]:
    """A bar for each thing that is being done, with the time it may still take; nothing without a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield report
