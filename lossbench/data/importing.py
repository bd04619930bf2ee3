"""import_dataset(): from files, a folder or an archive of the user's to one tensor file in the cache."""

from __future__ import annotations

import re
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

from lossbench.data.dataset import DatasetSpec
from lossbench.data.datasets import DATASETS
from lossbench.data.loading import Imported, cache_path, check_sizes, find_files, require_room, write_tensors
from lossbench.data.readers import (
    ARCHIVE_SUFFIXES,
    IMAGE_SUFFIXES,
    find_classes,
    image_size,
    is_archive,
    iterate_files,
    list_files,
    place_images,
    read_class_folders,
)


def import_dataset(
    path: Path,
    name: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    test_fraction: float = 0.2,
    skip_damaged: bool = False,
) -> Imported:
    """Read the dataset at `path` whole, check it, and keep it in the cache as one file.

    Args:
        path: folder or archive (zip, tar.*): the publisher's files of a dataset of `DATASETS`, or class folders.
        name: a key of `DATASETS` or a new name; None finds the row that `path` fits, or takes the name of `path`.
        size, grey, test_fraction: (height, width), one channel, and the share to test, for a new dataset only.
        skip_damaged: leave images out that cannot be decoded, with a warning that counts them.
    Raises ValueError or FileNotFoundError that names what is wrong; then the cache is as it was.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; name a folder or an archive of images")
    name = name or guess_name(path)
    target = cache_path(name)
    require_room(target)
    if name not in DATASETS:
        spec = describe_folder(path, name, size=size, grey=grey, test_fraction=test_fraction)
    elif size is not None or grey:
        raise ValueError(f"--size and --grey are for datasets of your own; {name} has {DATASETS[name].image_shape}")
    else:
        spec = DATASETS[name]
    if spec.embedded:
        raise ValueError(f"{name} is inside the package; it cannot be imported")
    if spec.files:
        with tempfile.TemporaryDirectory(prefix="lossbench-") as scratch:
            arrays = spec.read(spec, _find_source(spec, path, Path(scratch)))
    else:
        arrays = spec.read(spec, path, skip_damaged=skip_damaged)
    if name in DATASETS:
        check_sizes(spec, arrays, path)
    return write_tensors(target, name, spec.class_names, arrays, origin=path.name, split=spec.split)


def guess_name(path: Path) -> str:
    """The row of `DATASETS` that the files or classes at `path` fit, else a name made of that of `path`."""
    if path.is_dir():
        for name, spec in DATASETS.items():
            if not spec.embedded and find_files(spec, path):
                return name
    names = list_files(path, ("",))
    inside = {PurePosixPath(file).name for file in names}
    for name, spec in DATASETS.items():
        if spec.files and not spec.embedded and set(spec.files) <= inside | {f.removesuffix(".gz") for f in inside}:
            return name
    if any(PurePosixPath(file).name.startswith("HAM10000_metadata") for file in names):
        return "ham10000"
    images = [file for file in names if file.lower().endswith(IMAGE_SUFFIXES)]
    for name, spec in DATASETS.items():
        if spec.read is read_class_folders and _fits(spec, images):
            return name
    suffix = next((s for s in ARCHIVE_SUFFIXES if path.name.lower().endswith(s)), "")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name.removesuffix(suffix)).strip("-._")[:100]
    return plain or "images"


def describe_folder(
    path: Path, name: str, *, size: tuple[int, int] | None, grey: bool, test_fraction: float
) -> DatasetSpec:
    """A row for class folders that `DATASETS` does not know: classes sorted by name, size as in the first image.

    Raises ValueError when there are fewer than two classes, or the images differ in size and `size` is None.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test fraction must lie between 0 and 1, both excluded, got {test_fraction!r}")
    names = list_files(path, IMAGE_SUFFIXES)
    classes = find_classes(names)
    if len(classes) < 2:
        raise ValueError(
            f"{path} holds images of {len(classes)} classes {list(classes)}; a dataset needs at least two folders "
            "of images, one a class, such as cats/1.jpg and dogs/1.jpg"
        )
    height, width = size or _common_size(path)
    folders_give_split = {place.split for place in place_images(names, classes).values()} == {"train", "test"}
    return DatasetSpec(
        name,
        read_class_folders,
        class_names=classes,
        image_shape=(1 if grey else 3, height, width),
        train_size=0,
        test_size=0,
        split="by the folders train and test" if folders_give_split else f"{test_fraction:g} of each class to test",
        test_fraction=test_fraction,
        crop=True,
        licence="the user's",
        citation="",
        source=path.name,
    )


def _common_size(path: Path) -> tuple[int, int]:
    sizes = {image_size(content, name) for name, content in iterate_files(path, IMAGE_SUFFIXES)}
    if len(sizes) != 1:
        some = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:5])
        raise ValueError(f"{path}: the images have {len(sizes)} sizes ({some} ...); choose one, such as --size 64x64")
    return sizes.pop()


def _fits(spec: DatasetSpec, images: list[str]) -> bool:
    """Whether `images` are exactly of the classes of `spec`; for CIFAR-10 also as many, for it is often cut."""
    places = place_images(images, spec.class_names)
    complete = {place.class_index for place in places.values()} == set(range(spec.num_classes))
    size = spec.train_size + spec.test_size
    return complete and len(places) == len(images) and (spec.split != "official" or len(images) == size)


def _find_source(spec: DatasetSpec, path: Path, scratch: Path) -> Path:
    """The folder that holds the files of `spec`; those of an archive are copied to `scratch` under our names."""
    if path.is_file() and not is_archive(path):
        path = path.parent
    if path.is_dir():
        if folder := find_files(spec, path):
            return folder
    else:
        wanted = {file for name in spec.files for file in (name, f"{name}.gz")}
        for name, content in iterate_files(path, tuple(wanted)):
            if (own_name := PurePosixPath(name).name) in wanted:
                (scratch / own_name).write_bytes(content)
        if find_files(spec, scratch):
            return scratch
    hint = " For CIFAR-10 as class folders of images use --name cifar-10-jpeg." if spec.name == "cifar-10" else ""
    raise FileNotFoundError(f"{path} does not hold the files of {spec.name}: {', '.join(spec.files)}.{hint}")


# Fetch a dataset from its publisher: the one place that touches the network, and only when asked to.

TIMEOUT_SECONDS = 30


def download_dataset(name: str) -> Imported:
    """Fetch the files of `name` into a scratch folder, check them, and keep the import.

    Raises ValueError for an unknown name or one without an address, ConnectionError when the network or the server
    refuses, ValueError when what came is not what its publisher's digest says.
    """
    spec = DATASETS[name]
    if not spec.urls:
        where = "needs no download" if spec.embedded else "cannot be downloaded without an account or by a program"
        raise ValueError(f"{name} {where}: {spec.source}; then `lossbench data import PATH --name {name}`")
    with tempfile.TemporaryDirectory(prefix="lossbench-") as scratch:
        files = [_fetch(spec, url, Path(scratch)) for url in spec.urls]
        return import_dataset(files[0] if len(files) == 1 else Path(scratch), name)


def _fetch(spec: DatasetSpec, url: str, folder: Path) -> Path:
    from tqdm import tqdm

    path = folder / url.rsplit("/", 1)[1]
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as file:
            total = int(response.headers.get("Content-Length") or 0) or None
            with tqdm.wrapattr(file, "write", total=total, desc=path.name, unit="B", mininterval=0.5) as counted:
                shutil.copyfileobj(response, counted)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(
            f"{url} cannot be fetched ({reason}). Without a network: get the files of {spec.name} on another machine "
            f"and run `lossbench data import PATH --name {spec.name}`; or name a folder that holds them with --data; "
            "or use fashion-mini, which is inside the package"
        ) from error
    return path
