"""import_dataset(): from files, a folder or an archive of the user's to one tensor file in the cache."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lossbench.data.dataset import Arrays, DatasetSpec
from lossbench.data.datasets import DATASETS
from lossbench.data.layout import Layout, Place, check_sides, listed, read_layout, suffix_of
from lossbench.data.loading import Imported, cache_path, check_sizes, find_files, require_room, write_tensors
from lossbench.data.readers import (
    ARCHIVE_SUFFIXES,
    IMAGE_SUFFIXES,
    LINK,
    METADATA,
    Files,
    collect,
    is_archive,
    opened,
    place_images,
    read_archives,
    read_class_folders,
    read_ham10000,
    read_images,
)

_PUBLISHED = {file for spec in DATASETS.values() for name in spec.files for file in (name, f"{name}.gz")}
_WANTED = (*IMAGE_SUFFIXES, *(file.lower() for file in _PUBLISHED), METADATA.lower(), f"{METADATA}.csv".lower())
_SIZES_LISTED = 5


def import_dataset(
    path: Path,
    name: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    test_fraction: float = 0.2,
    skip_damaged: bool = False,
    roles: Mapping[str, str] | None = None,
    class_folder: str = "",
) -> Imported:
    """Read the dataset at `path` whole, check it, and keep it in the cache as one file.

    Args:
        path: folder or archive (zip, tar.*): the publisher's files of a dataset of `DATASETS`, or class folders.
        name: a key of `DATASETS` or a new name; None finds the row that `path` fits, or takes the name of `path`.
        size, grey, test_fraction: (height, width), one channel, and the share to test, for a new dataset only.
        skip_damaged: leave images out that cannot be decoded, with a warning that counts them.
        roles, class_folder: what folders are, for a new dataset whose layout does not say: see `read_layout`.
    Raises ValueError or FileNotFoundError that names what is wrong; then the cache is as it was.
    """
    path = Path(path).expanduser()
    if not name and path.is_file():
        name = next((row.name for row in DATASETS.values() if _packed_in(row, path)), None)
    with tempfile.TemporaryDirectory(prefix="lossbench-") as scratch:
        files = _collect(path, Path(scratch), name)
        name = name or guess_name(path, files)
        target = cache_path(name)
        require_room(target)
        if name in DATASETS:
            if size is not None or grey or roles or class_folder:
                options = "--size, --grey, --role and --class-folder"
                raise ValueError(f"{options} are for datasets of your own; {name} has {DATASETS[name].image_shape}")
            spec = DATASETS[name]
            arrays = _read_published(spec, path, files, Path(scratch), skip_damaged=skip_damaged)
            left_out = files.left_out
        else:
            spec, layout = describe_images(path, name, files, roles, class_folder, test_fraction)
            spec = replace(
                spec, image_shape=(1 if grey else 3, *(size or _common_size(path, files, layout, skip_damaged)))
            )
            arrays = read_images(spec, files, layout.places, skip_damaged=skip_damaged)
            if not len(arrays.train_target) + len(arrays.test_target):
                raise ValueError(f"{path}: none of the {len(layout.places):,} images can be read")
            try:
                check_sides(spec.class_names, _places(arrays), layout.sides)  # once more: damaged images are left out
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            left_out = files.left_out + layout.left_out
    return write_tensors(target, spec, arrays, origin=path.name, left_out=left_out)


def _packed_in(spec: DatasetSpec, path: Path) -> Path | None:
    """The folder that holds the archives of `spec`, where `path` is one of them or holds them."""
    if spec.read is not read_archives or (path.is_file() and path.name not in spec.files):
        return None
    return find_files(spec, path.parent if path.is_file() else path)


def _collect(path: Path, scratch: Path, name: str | None) -> Files:
    if name is not None and name in DATASETS and (folder := _packed_in(DATASETS[name], path)):
        return Files({file: folder / file for file in DATASETS[name].files}, Counter())  # their reader unpacks them
    files = collect(path, scratch, _WANTED)
    if path.is_dir() and any(PurePosixPath(name).stem == METADATA for name in files.paths):
        for archive in filter(is_archive, sorted(path.iterdir())):  # HAM10000 comes as a table and two zips
            (scratch / archive.name).mkdir()
            inside = collect(archive, scratch / archive.name, _WANTED)
            files.paths.update({f"{archive.name}/{name}": file for name, file in inside.paths.items()})
            files.left_out.update(inside.left_out)
    return files


def guess_name(path: Path, files: Files) -> str:
    """The row of `DATASETS` that the files or classes at `path` fit, else a name made of that of `path`.

    Classes alone are no proof: many folders hold cats and dogs. So the number of images must be the published one.
    """
    inside = {PurePosixPath(name).name for name in files.paths}
    inside |= {name.removesuffix(".gz") for name in inside}
    for name, spec in DATASETS.items():
        if spec.files and not spec.embedded and set(spec.files) <= inside:
            return name
    if any(file.startswith(METADATA) for file in inside):
        return "ham10000"
    images = files.images()
    for name, spec in DATASETS.items():
        if spec.read is read_class_folders and len(images) >= spec.train_size + spec.test_size:
            places = place_images(images, spec.class_names).values()
            complete = {place.class_index for place in places} == set(range(spec.num_classes))
            if complete and len(places) == spec.train_size + spec.test_size:
                return name
    own_name = path.resolve().name
    suffix = next((s for s in ARCHIVE_SUFFIXES if own_name.lower().endswith(s)), "")
    stem = own_name[: len(own_name) - len(suffix)]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100]
    if not plain:  # a name in another script
        plain = f"images-{hashlib.sha256(stem.encode(errors='surrogateescape')).hexdigest()[:8]}"
    return f"my-{plain}"[:100] if plain.lower() in DATASETS else plain


def describe_images(
    path: Path, name: str, files: Files, roles: Mapping[str, str] | None, class_folder: str, test_fraction: float
) -> tuple[DatasetSpec, Layout]:
    """A row, still without a size, for class folders that `DATASETS` does not know, and the place of each image.

    Raises ValueError for a layout that cannot be read in one way, or too few images of a class to split.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test fraction must lie between 0 and 1, both excluded, got {test_fraction!r}")
    try:
        layout = read_layout(files.images(), roles, class_folder)
    except ValueError as error:
        raise ValueError(f"{path}: {error}{_others(files)}") from None
    if not layout.split:
        counts = Counter(place.class_index for place in layout.places.values())
        few = [
            name for k, name in enumerate(layout.class_names) if not 0 < round(test_fraction * counts[k]) < counts[k]
        ]
        if few:
            raise ValueError(
                f"{path}: with {test_fraction:g} of each class to test, one side has no image of {listed(few)}; "
                "add images, choose another --test-fraction, or leave the folder out with --role FOLDER=out"
            )
    spec = DatasetSpec(
        name,
        read_class_folders,
        class_names=layout.class_names,
        image_shape=(0, 0, 0),
        train_size=0,
        test_size=0,
        split=layout.split or f"{test_fraction:g} of each class to test, those with the smallest sha256",
        test_fraction=test_fraction,
        crop=True,
        licence="the user's",
        citation="",
        source=path.name,
    )
    return spec, layout


def _others(files: Files) -> str:
    """What else is there, and what to do where that explains why there are no classes."""
    left_out = files.left_out.copy()
    for name in set(files.paths) - set(files.images()):
        left_out[_NAMED_AS_PUBLISHED, suffix_of(name)] += 1
    counts = ", ".join(f"{count:,} {suffix} ({reason})" for (reason, suffix), count in left_out.most_common(8))
    kinds = {suffix for _, suffix in left_out} | {reason for reason, _ in left_out}
    advice = [text for signs, text in _ADVICE if kinds & signs]
    return ". ".join(["", f"Besides images there are: {counts}", *advice] if counts else [""])


_NAMED_AS_PUBLISHED = "named like a file of a published dataset"
_ADVICE = (
    ({_NAMED_AS_PUBLISHED}, "`lossbench data info NAME` lists the files that a published dataset needs"),
    ({".zip", ".tar", ".tgz", ".7z", ".rar"}, "Archives inside are not unpacked: import that one, or unpack it"),
    ({LINK}, "Links are not followed: copy what they lead to"),
    ({".heic", ".heif", ".avif", ".svg", ".dcm"}, "Save such images as PNG or JPEG first"),
    ({".npz", ".npy", ".csv", ".mat", ".h5", ".parquet"}, "Arrays and tables are not read: write a folder a class"),
)


def _common_size(path: Path, files: Files, layout: Layout, skip_damaged: bool) -> tuple[int, int]:
    sizes = set()
    for name in layout.places:
        try:
            with opened(files.paths[name], f"{path}: {name}") as image:
                sizes.add((image.height, image.width))
        except ValueError:
            if not skip_damaged:
                raise
    if not sizes:
        raise ValueError(f"{path}: none of the {len(layout.places):,} images can be read")
    if len(sizes) > 1:
        some = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:_SIZES_LISTED])
        raise ValueError(f"{path}: the images have {len(sizes)} sizes ({some} ...); choose one, such as --size 64x64")
    return sizes.pop()


def _places(arrays: Arrays) -> Iterable[Place]:
    targets = {side: array for name, array in arrays.there().items() if (side := name.removesuffix("_target")) != name}
    return {Place(int(k), side) for side, target in targets.items() for k in set(target.tolist())}


def _read_published(spec: DatasetSpec, path: Path, files: Files, scratch: Path, *, skip_damaged: bool) -> Arrays:
    """Read a row of `DATASETS`. Raises ValueError where the images are too few, or too many, to be what it names."""
    if spec.embedded:
        raise ValueError(f"{spec.name} is inside the package; it cannot be imported")
    if spec.files:
        arrays = spec.read(spec, _find_source(spec, path, files, scratch))
    else:
        try:
            arrays = spec.read(spec, files, skip_damaged=skip_damaged)
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"{path}: {error}") from error
        count, published = len(arrays.train_images) + len(arrays.test_images), spec.train_size + spec.test_size
        if spec.read is not read_ham10000 and not published / 2 <= count <= published * 1.1:
            raise ValueError(
                f"{path}: {count:,} images of these classes, where {spec.name} has {published:,}; if they are your "
                "own, give them a name of their own with --name"
            )
    check_sizes(spec, arrays, path)
    return arrays


def _find_source(spec: DatasetSpec, path: Path, files: Files, scratch: Path) -> Path:
    """The folder that holds the files of `spec`; those of an archive get their names in `scratch`."""
    if packed := _packed_in(spec, path):
        return packed
    if path.is_file() and not is_archive(path):
        path = path.parent
    if path.is_dir():
        if folder := find_files(spec, path):
            return folder
    else:
        folder = scratch / "named"
        folder.mkdir()
        wanted = {file for name in spec.files for file in (name, f"{name}.gz")}
        for name, file in files.paths.items():
            if (own_name := PurePosixPath(name).name) in wanted:
                file.rename(folder / own_name)
        if find_files(spec, folder):
            return folder
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
