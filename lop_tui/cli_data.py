"""`lop data`: options and help."""

from pathlib import Path
from typing import Annotated

import typer

from lop_tui.cli_options import Commands

app = Commands(
    help="Bring images in, look at them, check them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_DATA = Path("data/imagenet32")

Target = Annotated[Path, typer.Option("--to", metavar="DIR", help="The new folder.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the data set that is there.")]
DataPath = Annotated[Path, typer.Argument(metavar="[PATH]", help="The data set.")]
TrainImages = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100_000,
        help="Images a class to train on; 600, or fewer in proportion where a class is small.",
        show_default=False,
    ),
]
TestImages = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="Images a class to test on; 100 by default.", show_default=False)
]


@app.command("import", epilog="Example: [b]lop data import ~/downloads/Imagenet32_train[/b]")
def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A folder, or one file of it.", show_default=False)],
    to: Target = DEFAULT_DATA,
    format: Annotated[
        str | None,
        typer.Option(metavar="npy|batches|parquet|folder", help="What SOURCE is; looked for by default."),
    ] = None,
    train_images: TrainImages = None,
    test_images: TestImages = None,
    names: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the labels are called: lines WNID LABEL, or one name a line."),
    ] = None,
    with_val: Annotated[
        bool, typer.Option("--with-val", help="Let validation images follow the training images of their class.")
    ] = False,
    resize: Annotated[
        str, typer.Option(metavar="FILTER", help="box, hamming, bilinear, bicubic or lanczos, for larger pictures.")
    ] = "box",
    replace: Replace = False,
) -> None:
    """Turn images of any known form into a data set: checked, one file a class, in one step or not at all."""
    from lop_engine.datasets.importing import ImportOptions
    from lop_tui.commands.data import import_data

    options = ImportOptions(format, train_images, test_images, names, with_val, resize, replace)
    raise typer.Exit(import_data(source, to, options))


@app.command("import-order", epilog="Example: [b]lop data import-order class_order --data data/imagenet32[/b]")
def import_order(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The reference's pickle, .npy, .csv or .json.", show_default=False)
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The new table.")] = Path("data/class_order.npy"),
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The images it is for; 1000 classes by default.")
    ] = None,
    num_classes: Annotated[int, typer.Option(min=2, help="Classes a task.")] = 2,
    num_tasks: Annotated[int, typer.Option(min=1, help="Tasks of the run it is for.")] = 5000,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the table that is there.")] = False,
) -> None:
    """Check a table of class orders (a row a seed, consecutive classes a task) and keep it as .npy."""
    from lop_tui.commands.data import import_class_order

    raise typer.Exit(import_class_order(file, to, data, num_classes, num_tasks, replace))


@app.command(epilog="Example: [b]lop data verify data/imagenet32[/b]")
def verify(path: DataPath = DEFAULT_DATA) -> None:
    """Read every image: checksums, counts, values, classes that are there twice. Exit status 1 if anything is wrong."""
    from lop_tui.commands.data import verify_data

    raise typer.Exit(verify_data(path))


@app.command(epilog="Example: [b]lop data info data/imagenet32 -o samples.png[/b]")
def info(
    path: DataPath = DEFAULT_DATA,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the picture as PNG.", show_default=False),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Numbers or names (0,5,n01440764) to show; some of them by default.")
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, max=1000, help="Images of a class to show.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Say what a data set holds, and show some of it."""
    from lop_tui.commands.data import show_info

    raise typer.Exit(show_info(path, output, classes, images, as_json))


@app.command(epilog="Example: [b]lop data synth --to data/synthetic --classes 100[/b]")
def synth(
    to: Target = Path("data/synthetic"),
    classes: Annotated[int, typer.Option(min=2, max=65_536, help="How many classes.")] = 1000,
    train_images: TrainImages = None,
    test_images: TestImages = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other images.")] = 0,
    replace: Replace = False,
) -> None:
    """Write the synthetic stand-in as a data set: the images of --data synthetic."""
    from lop_engine.datasets.importing import ImportOptions
    from lop_tui.commands.data import write_synthetic

    options = ImportOptions(train_images=train_images, test_images=test_images, replace=replace)
    raise typer.Exit(write_synthetic(to, classes, seed, options))
