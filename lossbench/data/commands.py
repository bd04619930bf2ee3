"""`lossbench data list|info|import|verify|download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="data", help="List, import, check and download datasets.", no_args_is_help=True)
Data = Annotated[Path | None, typer.Option(help="Folder to search instead of LOSSBENCH_DATA, cache and Debian's.")]


@app.command("list")
def list_datasets(data: Data = None) -> None:
    """Every dataset: classes, image shape, number of images, and whether it is here."""
    from lossbench.data.loading import find_spec, imported_names
    from lossbench.data.registry import DATASETS
    from lossbench.data.search import find_dataset

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


@app.command()
def info(name: str, data: Data = None) -> None:
    """Everything known about one dataset: classes, split, licence, citation, files."""
    from lossbench.data.loading import find_spec
    from lossbench.data.search import find_dataset

    spec = find_spec(name, data)
    shape = "x".join(map(str, spec.image_shape))
    typer.echo(f"{spec.title or spec.name}: {shape}, {spec.train_size:,} to train, {spec.test_size:,} to test")
    for key in ("split", "licence", "citation", "source"):
        typer.echo(f"{key:<9} {getattr(spec, key)}")
    typer.echo(f"classes   {', '.join(spec.class_names)}")
    for file, digest in spec.files.items():
        typer.echo(f"file      {file}  {digest or 'no digest published'}")
    try:
        typer.echo(f"found     {find_dataset(spec, data)}")
    except FileNotFoundError as error:
        typer.echo(f"found     no: {error}")


@app.command("import")
def import_path(
    path: Path,
    name: Annotated[str | None, typer.Option(help="A dataset of `data list`, or a new name.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the images of a dataset of your own.")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="One channel instead of three.")] = False,
    test_fraction: Annotated[float, typer.Option(help="Share to test where no folders say.")] = 0.2,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave broken images out.")] = False,
) -> None:
    """Import a folder or archive (zip, tar.*) of images or of a dataset's own files into the cache."""
    from lossbench.data.importing import import_dataset

    imported = import_dataset(
        path, name, size=_parse_size(size), grey=grey, test_fraction=test_fraction, skip_damaged=skip_damaged
    )
    typer.echo(
        f"imported {imported.name}: {imported.train_size:,} + {imported.test_size:,} images of "
        f"{len(imported.class_names)} classes; use it with --dataset {imported.name}"
    )


@app.command()
def verify(name: str, data: Data = None) -> None:
    """Read a dataset whole and check every byte of it."""
    from lossbench.data.loading import load

    dataset = load(name, data)
    typer.echo(f"{name}: {len(dataset.train):,} + {len(dataset.test):,} images, {dataset.fingerprint}: as expected")


@app.command()
def download(name: str) -> None:
    """Fetch a dataset from its publisher, check it and keep it in the cache."""
    from lossbench.data.download import download_dataset

    imported = download_dataset(name)
    typer.echo(f"downloaded {imported.name}: {imported.train_size:,} + {imported.test_size:,} images")


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) <= 4096 for side in sides):
        raise ValueError(f"size must be HEIGHTxWIDTH, such as 64x64, each from 1 to 4096, got {text!r}")
    return int(sides[0]), int(sides[1])
