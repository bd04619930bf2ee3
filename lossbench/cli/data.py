"""`lossbench data`: list, import, check and download data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(name="data", help="List, import, check and download datasets.", no_args_is_help=True)
DataFolders = Annotated[
    Path | None, typer.Option(help="Folder to search instead of LOSSBENCH_DATA, cache and Debian's.")
]


@data_app.command("list")
def list_datasets(data: DataFolders = None) -> None:
    """Every dataset: classes, image shape, number of images, and whether it is here."""
    from lossbench.data.datasets import DATASETS
    from lossbench.data.loading import find_dataset, find_spec, imported_names

    typer.echo(f"{'name':<18}{'classes':>8}  {'image':<12}{'train':>8}{'test':>8}  where")
    for name in (*DATASETS, *imported_names(data)):
        spec = find_spec(name, data)
        try:
            where = "in the package" if spec.embedded else str(find_dataset(spec, data))
        except FileNotFoundError:
            where = f"not here; lossbench data info {name} says how to get it"
        shape = "x".join(map(str, spec.image_shape))
        row = f"{name:<18}{spec.num_classes:>8}  {shape:<12}{spec.train_size:>8,}{spec.test_size:>8,}  {where}"
        typer.echo(row)


@data_app.command()
def info(name: str, data: DataFolders = None) -> None:
    """Everything known about one dataset: classes, split, licence, citation, files."""
    from lossbench.data.loading import SUFFIX, find_dataset, find_spec, read_about

    spec = find_spec(name, data)
    shape = "x".join(map(str, spec.image_shape))
    sizes = {"train": spec.train_size, "validate": spec.validation_size, "test": spec.test_size}
    images = ", ".join(f"{size:,} to {what}" for what, size in sizes.items() if size or what != "validate")
    typer.echo(f"{spec.title or spec.name}: {shape}, {images}")
    for key in ("licence", "citation", "source"):
        typer.echo(f"{key:<9} {getattr(spec, key)}")
    for file, digest in spec.files.items():
        typer.echo(f"file      {file}  {digest or 'no digest published'}")
    tail = f"; the largest has {spec.tail:g} times as many images as the smallest" if spec.tail > 1 else ""
    details = [f"split     {spec.split}", f"classes   {', '.join(spec.class_names)}{tail}"]
    try:
        path = find_dataset(spec, data)
        found = str(path)
        if path.suffix == SUFFIX:
            details = read_about(path).details()
    except FileNotFoundError as error:
        found = f"no: {error}"
    typer.echo("\n".join([*details, f"found     {found}"]))


@data_app.command("import")
def import_path(
    path: Path,
    name: Annotated[str | None, typer.Option(help="A dataset of `data list`, or a new name.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the images of a dataset of your own.")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="One channel instead of three.")] = False,
    test_fraction: Annotated[float, typer.Option(help="Share to test where no folders say.")] = 0.2,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave broken images out.")] = False,
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER=ROLE", help="What a folder is: train, test, validation, class or out."),
    ] = None,
    class_folder: Annotated[
        str, typer.Option(help="first or last: which of nested folders names the class.", show_default=False)
    ] = "",
) -> None:
    """Import a folder or archive (zip, tar.*) of images or of a dataset's own files into the cache."""
    from lossbench.data.importing import import_dataset

    imported = import_dataset(
        path,
        name,
        size=_parse_size(size),
        grey=grey,
        test_fraction=test_fraction,
        skip_damaged=skip_damaged,
        roles=dict(map(_parse_role, role or ())),
        class_folder=class_folder,
    )
    typer.echo(imported.describe())


@data_app.command()
def verify(name: str, data: DataFolders = None) -> None:
    """Read a dataset whole and check every byte of it."""
    from lossbench.data.loading import load

    dataset = load(name, data)
    sizes = ", ".join(f"{len(split):,} {side}" for side, split in dataset.splits.items())
    typer.echo(f"{name}: {sizes} images, {dataset.fingerprint}: as expected")


@data_app.command()
def download(name: str) -> None:
    """Fetch a dataset from its publisher, check it and keep it in the cache."""
    from lossbench.data.importing import download_dataset

    imported = download_dataset(name)
    typer.echo(f"downloaded {imported.name}: {imported.images}")


def _parse_role(text: str) -> tuple[str, str]:
    folder, _, role = text.rpartition("=")
    if not folder:
        raise ValueError(f"--role takes FOLDER=ROLE, such as test1=out, got {text!r}")
    return folder, role


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) <= 4096 for side in sides):
        raise ValueError(f"size must be HEIGHTxWIDTH, such as 64x64, each from 1 to 4096, got {text!r}")
    return int(sides[0]), int(sides[1])
