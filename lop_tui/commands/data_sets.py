"""Implementation of `lop data`: writes, checks and describes data sets, and draws sample images."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lop_engine.datasets import ClassFolder, ClassOrder, SyntheticImages
from lop_engine.datasets.base import IMAGE_SHAPE, SHAPES, Shape, in_numbers
from lop_engine.datasets.class_folder import Manifest
from lop_engine.datasets.importing import ImportOptions, Report, default_target, import_images, write_dataset
from lop_engine.datasets.importing.source import StandIn
from lop_engine.datasets.verify import verify
from lop_engine.errors import DataError
from lop_engine.files import replacing
from lop_tui.words.console import Console, as_argument, say

_GAP = 2
_ZOOM = 2
#: Width in characters of the largest image; a character shows two pixels, one above the other.
COLUMNS = 16


def import_data(source: Path, place: Path | None, options: ImportOptions) -> int:
    """Import `source` as the data set `place`, by default the default place for its image shape. Raises DataError."""
    target = place or default_target(source, options)
    return _write(lambda report: import_images(source, target, options, report), target)


def shape_from(text: str | None) -> Shape | None:
    """Parse a shape such as ``1x28x28``. Raises DataError."""
    if text is None:
        return None
    for shape in SHAPES:
        if in_numbers(shape) == text:
            return shape
    raise DataError(f'--shape "{text}": choose {" or ".join(map(in_numbers, SHAPES))}')


def write_synthetic(target: Path, num_classes: int, seed: int, options: ImportOptions) -> int:
    """Write the synthetic images as the data set `target`. Raises DataError."""
    images = SyntheticImages(num_classes, seed)
    return _write(lambda report: write_dataset(lambda _: StandIn(images), images.name, target, options, report), target)


def _write(work: Callable[[Report], tuple[Manifest, list[str]]], target: Path) -> int:
    console = Console()
    try:
        with bars(console) as report:
            manifest, notes = work(report)
    except KeyboardInterrupt:
        say(console, f"interrupted; nothing half done is left at {target}")
        return 130
    for note in notes:
        say(console, f"note: {note}")
    images = sum(entry.images for entry in manifest.classes)
    say(console, f"{target}: {len(manifest.classes)} classes, {images} images ({manifest.dtype}), {manifest.split}")
    name = as_argument(target)
    file = "cfg/bp.json" if tuple(manifest.shape) == IMAGE_SHAPE else "cfg/mnist/bp.json"
    say(console, f"train on it: lop run {file} --data {name}    look at it: lop data info {name}")
    return 0


def order_notes(order: ClassOrder, num_classes: int, num_tasks: int) -> list[str]:
    """Return notes on a table of class orders for a run of `num_tasks`."""
    tasks = order.rows.shape[1] // num_classes
    if tasks >= num_tasks:
        return []
    return [f"a row holds {tasks} tasks; in a run of {num_tasks} they repeat"]


def choose_classes(folder: ClassFolder, text: str | None) -> list[int]:
    """Return the classes named by ``0,5,n01440764``, as numbers or names. Raises DataError."""
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


def facts_of(folder: ClassFolder, console: Console, quiet: bool) -> dict[str, object]:
    """Return facts about a data set; reads all images if it has no manifest."""
    manifest = folder.manifest
    facts: dict[str, object] = {
        "path": folder.name,
        "source": _source_of(manifest) if manifest else "not imported by lop",
        "num_classes": folder.num_classes,
        "num_images": sum(folder.counts),
        "smallest_class": folder.num_images,
        "train_images": folder.split.train,
        "test_images": folder.split.test,
        "shape": in_numbers(folder.shape),
        "dtype": str(folder.dtype),
        "normalisation": "scaled" if folder.dtype == np.uint8 else "none",
        "sha256": folder.sha256,
    }
    if manifest:
        values = (manifest.minimum, manifest.maximum, manifest.channel_means, manifest.channel_stds)
    else:
        with bars(console, quiet) as report:
            checked = verify(folder.path, report)
        if checked.problems:
            raise DataError(checked.problems[0])
        values = (checked.minimum, checked.maximum, list(checked.channel_means), list(checked.channel_stds))
    return facts | dict(zip(("minimum", "maximum", "channel_means", "channel_stds"), values, strict=True))


def _source_of(manifest: Manifest) -> str:
    """Return where the images come from, and its format unless the name says it."""
    path, format = (manifest.source.get(key, "?") for key in ("path", "format"))
    return path if path.startswith(f"{format} (") else f"{path} ({format})"


def table_of(facts: dict[str, object]) -> Table:
    """Return a table of the facts, one per row."""
    table = Table(show_header=False)
    for key, value in facts.items():
        shown = "  ".join(f"{one:.4g}" for one in value) if isinstance(value, list) else str(value)
        table.add_row(key.replace("_", " "), Text(shown or "-", overflow="fold"))
    return table


@contextmanager
def bars(console: Console, quiet: bool = False) -> Iterator[Report]:
    """Show a bar for each step, with its remaining time; nothing without a terminal."""
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


def spread(total: int, most: int) -> list[int]:
    """Return up to `most` evenly spaced numbers from 0 .. total - 1."""
    return [total * place // min(total, most) for place in range(min(total, most))]


def sample_grid(folder: ClassFolder, classes: Sequence[int], images: int) -> np.ndarray:
    """Draw a row of images for each class, at twice their size: (height, width, 3) uint8."""
    cell = folder.shape[1] * _ZOOM + _GAP
    canvas = np.full((cell * len(classes) + _GAP, cell * images + _GAP, 3), 255, np.uint8)
    for row, index in enumerate(classes):
        for column, shown in enumerate(_shown(folder, index, images)):
            top, left = row * cell + _GAP, column * cell + _GAP
            canvas[top : top + cell - _GAP, left : left + cell - _GAP] = shown.repeat(_ZOOM, 0).repeat(_ZOOM, 1)
    return canvas


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write a picture as PNG, atomically."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content.getvalue())


def half_blocks(folder: ClassFolder, classes: Sequence[int], images: int) -> Text:
    """Draw images at half size; a character's colour is its upper pixel, its background the lower one."""
    text = Text()
    for index in classes:
        text.append("  ".join(dict.fromkeys((str(index), folder.class_names[index]))) + "\n")
        small = [_halved(shown) for shown in _shown(folder, index, images)]
        for line in range(0, folder.shape[1] // 2, 2):
            for picture in small:
                for upper, lower in zip(picture[line], picture[line + 1], strict=True):
                    text.append("▀", style=f"rgb({_rgb(upper)}) on rgb({_rgb(lower)})")
                text.append(" ")
            text.append("\n")
    return text


def _shown(folder: ClassFolder, index: int, images: int) -> np.ndarray:
    """Return the first images of a class as RGB, (N, H, W, 3) uint8; other value ranges are rescaled."""
    values = np.array(folder.mapped(index)[:images]).transpose(0, 2, 3, 1)
    values = values.repeat(3, 3) if values.shape[3] == 1 else values
    if values.dtype == np.uint8:
        return values
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    return ((values - low) * (255 / (high - low or 1))).astype(np.uint8)


def _halved(picture: np.ndarray) -> np.ndarray:
    """Halve a picture: (H, W, 3) to (H / 2, W / 2, 3), means of 2x2 pixels."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return picture.reshape(height, 2, width, 2, 3).mean((1, 3)).astype(np.uint8)


def _rgb(pixel: np.ndarray) -> str:
    return ",".join(map(str, pixel.tolist()))
