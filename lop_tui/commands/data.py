"""`lop data`: imports, describes and checks images."""

import io
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lop_tui.commands.app import CONTEXT, Commands, Group, app
from lop_tui.commands.options import Json, output

data = Commands(
    cls=Group,
    help="Import, view and check images.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=CONTEXT,
)
app.add_typer(data, name="data", epilog="Example: [b]lop data import ~/Imagenet32_train[/b]", rich_help_panel="Set up")

DEFAULT_DATA = Path("data/imagenet32")

Target = Annotated[Path, output("The new folder.", "--to", metavar="DIR", show_default=True)]
Replace = Annotated[bool, typer.Option("--replace", help="Replace an existing data set.")]
DataPath = Annotated[Path, typer.Argument(metavar="[PATH]", help="The data set.")]
TrainImages = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100_000,
        help="Training images per class; by default 600, proportionally fewer in small classes.",
        show_default=False,
    ),
]
TestImages = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="Test images per class; by default 100.", show_default=False)
]


@data.command("import", epilog="Example: [b]lop data import ~/downloads/Imagenet32_train[/b]")
def import_(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A folder, one file of it, or a zip or tar archive.", show_default=False),
    ],
    to: Annotated[
        Path | None,
        output("The new folder; data/imagenet32 by default, data/mnist for grey images.", "--to", metavar="DIR"),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(metavar="npy|batches|idx|arrays|parquet|folder", help="Format of SOURCE; detected by default."),
    ] = None,
    train_images: TrainImages = None,
    test_images: TestImages = None,
    names: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Names of the labels: each line is WNID LABEL, or one name per line."),
    ] = None,
    with_val: Annotated[
        bool, typer.Option("--with-val", help="Append validation images to the training images of their class.")
    ] = False,
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Filter for images that are not 32x32: box, hamming, bilinear, bicubic or lanczos; box by default for "
            "image files, while batches of another size are refused without it.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of a parquet file that holds the images.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of a parquet file, or key of a batch, that holds the labels: coarse_labels of CIFAR-100.",
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="3x32x32|1x28x28",
            help="Shape of the images; by default grey image files of 28x28 keep their shape, others become 3x32x32.",
            show_default=False,
        ),
    ] = None,
    replace: Replace = False,
) -> int:
    """Check images of a known format, and convert them into a data set with one file per class."""
    from lop_engine.datasets.importing import ImportOptions
    from lop_tui.commands.data_sets import import_data, shape_from

    options = ImportOptions(
        format, train_images, test_images, names, with_val, resize, replace, images, labels, shape_from(shape)
    )
    return import_data(source, to, options)


@data.command("import-order", epilog="Example: [b]lop data import-order class_order --data data/imagenet32[/b]")
def import_order(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The reference's pickle, .npy, .csv or .json.", show_default=False)
    ],
    to: Annotated[Path, output("The new table.", "--to", show_default=True)] = Path("data/class_order.npy"),
    images: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="PATH", help="Data set whose classes the table orders; by default 1000 classes."
        ),
    ] = None,
    num_classes: Annotated[int, typer.Option(min=2, help="Classes per task.")] = 2,
    num_tasks: Annotated[int, typer.Option(min=1, help="Number of tasks of the runs that use it.")] = 5000,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing table.")] = False,
) -> int:
    """Check a table of class orders (one row per seed, consecutive classes per task) and write it as .npy."""
    import numpy as np

    from lop_engine.datasets import ClassFolder, read_class_order
    from lop_engine.errors import DataError
    from lop_engine.files import replacing
    from lop_tui.commands.data_sets import order_notes
    from lop_tui.words.console import Console, say

    console = Console()
    order = read_class_order(file)
    order.check(ClassFolder.open(images).num_classes if images else 1000, num_classes)
    if to.suffix != ".npy":
        raise DataError(f"{to}: the table is written as .npy; choose a name that ends in .npy")
    if to.exists():
        read_class_order(to)  # replace only a class-order table
        if not replace:
            raise DataError(f"{to}: exists already; name another place with -o FILE, or add --replace")
    content = io.BytesIO()
    np.save(content, order.rows)
    to.parent.mkdir(parents=True, exist_ok=True)
    with replacing(to, durable=True) as temporary:
        temporary.write(content.getvalue())
    for note in order_notes(order, num_classes, num_tasks):
        say(console, f"note: {note}")
    say(console, f"{to}: {order.rows.shape[0]} seeds, {order.rows.shape[1]} classes per row")
    say(console, f"train with it: lop run cfg/bp.json --set {shlex.quote(f'class_order={to}')}")
    return 0


@data.command(epilog="Example: [b]lop data verify data/imagenet32[/b]")
def verify(path: DataPath = DEFAULT_DATA) -> int:
    """Read and check every image: checksums, counts, values, duplicate classes. Exit status 1 if anything is wrong."""
    from lop_engine.datasets.verify import verify as read_all
    from lop_tui.commands.data_sets import bars
    from lop_tui.words.console import Console, say

    console = Console()
    with bars(console) as report:
        checked = read_all(path, report)
    for problem in checked.problems:
        say(console, f"wrong: {problem}", style="red")
    for note in checked.notes:
        say(console, f"note: {note}")
    if checked.folder and not checked.problems:
        images = sum(checked.folder.counts)
        values = f"values {checked.minimum:.4g} to {checked.maximum:.4g}"
        say(console, f"{path}: valid: {checked.folder.num_classes} classes, {images} images, {values}")
    return 1 if checked.problems else 0


@data.command(epilog="Example: [b]lop data info data/imagenet32 -o samples.png[/b]")
def info(
    path: DataPath = DEFAULT_DATA,
    picture: Annotated[Path | None, output("Write the picture as PNG.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes to show, by number or name (0,5,n01440764); by default some of them.")
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, max=1000, help="Images per class to show.")] = None,
    as_json: Json = False,
) -> int:
    """Describe a data set, and show some of its images."""
    from lop_engine.datasets import ClassFolder
    from lop_engine.errors import DataError
    from lop_tui.commands import data_sets
    from lop_tui.words.console import Console, print_json, say

    folder = ClassFolder.open(path)
    if picture is not None and picture.suffix.lower() != ".png":
        raise DataError(f"{picture}: the picture is a PNG; name it so")
    chosen = data_sets.choose_classes(folder, classes)
    console = Console()
    facts = data_sets.facts_of(folder, console, as_json)
    if as_json:
        print_json(facts)
    else:
        console.print(data_sets.table_of(facts))
    if picture is not None:
        shown = chosen or data_sets.spread(folder.num_classes, 10)
        data_sets.save_picture(data_sets.sample_grid(folder, shown, images or 10), picture)
        if not as_json:
            say(console, f"picture: {picture}")
    elif not as_json and console.is_terminal and not console.no_color:
        across = min(images or 4, max(1, console.width // (data_sets.COLUMNS + 1)))
        console.print(data_sets.half_blocks(folder, chosen or data_sets.spread(folder.num_classes, 3), across))
    return 0


@data.command(epilog="Example: [b]lop data synth --to data/synthetic --classes 100[/b]")
def synth(
    to: Target = Path("data/synthetic"),
    classes: Annotated[int, typer.Option(min=2, max=65_536, help="Number of classes.")] = 1000,
    train_images: TrainImages = None,
    test_images: TestImages = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images.")] = 0,
    replace: Replace = False,
) -> int:
    """Write the synthetic images of --data synthetic as a data set."""
    from lop_engine.datasets.importing import ImportOptions
    from lop_tui.commands.data_sets import write_synthetic

    options = ImportOptions(train_images=train_images, test_images=test_images, replace=replace)
    return write_synthetic(to, classes, seed, options)
