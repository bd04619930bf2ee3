"""Read images that lie in one folder a class, in a folder or an archive."""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lossbench.data.archives import IMAGE_SUFFIXES, iterate_files, list_files
from lossbench.data.dataset import Arrays, Bytes, Indices
from lossbench.data.images import decode

if TYPE_CHECKING:
    from lossbench.data.dataset import DatasetSpec

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "val": "test"}
SPLITS |= {"valid": "test", "validation": "test"}


class Place(NamedTuple):
    """Where one image belongs; split is "" where the folders do not say."""

    class_index: int
    split: str


class Loaded(NamedTuple):
    """Decoded images in the order of their names, the digest of each file, and which could be read."""

    images: Bytes
    digests: list[str]
    readable: npt.NDArray[np.bool_]


def read_class_folders(spec: DatasetSpec, path: Path, *, skip_damaged: bool = False) -> Arrays:
    """Every image below `path`, in the order of their names.

    The class is the folder an image lies in (`rose/1.jpg`), or the start of its name (`cat.1.jpg`). Folders
    `train` and `test` above the classes give the split; without them the rule of `split_by_digest` does.
    Raises ValueError when no image can be placed, a class is missing or a file cannot be decoded.
    """
    names = list_files(path, IMAGE_SUFFIXES)
    places = place_images(names, spec.class_names)
    _check_classes(spec, path, names, places)
    loaded = decode_all(spec, path, sorted(places), skip_damaged=skip_damaged)
    kept = [places[name] for name, readable in zip(sorted(places), loaded.readable, strict=True) if readable]
    target = np.array([place.class_index for place in kept], dtype=np.int64)
    if {place.split for place in kept} == {"train", "test"}:
        is_test = np.array([place.split == "test" for place in kept])
    else:
        is_test = split_by_digest(target, loaded.digests, spec.test_fraction)
    return Arrays(loaded.images[~is_test], target[~is_test], loaded.images[is_test], target[is_test])


def place_images(names: list[str], class_names: tuple[str, ...]) -> dict[str, Place]:
    """The class and split of each name that has one; images elsewhere (no class in their path) are left out."""
    index = {_plain(name): k for k, name in enumerate(class_names)}
    places = {}
    for name in names:
        *folders, file = PurePosixPath(name).parts
        by_folder = index.get(_plain(folders[-1])) if folders else None
        found = by_folder if by_folder is not None else index.get(_plain(file.split(".")[0]))
        if found is not None:
            above = [SPLITS[folder.lower()] for folder in folders if folder.lower() in SPLITS]
            places[name] = Place(found, above[-1] if above else "")
    return places


def find_classes(names: list[str]) -> tuple[str, ...]:
    """The folders that hold images, sorted: the classes of a dataset that no row describes."""
    return tuple(sorted({PurePosixPath(name).parts[-2] for name in names if len(PurePosixPath(name).parts) > 1}))


def split_by_digest(target: Indices, digests: list[str], test_fraction: float) -> npt.NDArray[np.bool_]:
    """Mark the test images: of each class, the share whose files have the smallest sha256.

    Needs no random generator, and follows the image, not its name or place. Equal digests stay on one side
    where the border allows it, so copies seldom straddle the split.
    """
    is_test = np.zeros(len(target), dtype=bool)
    order = np.argsort(np.array(digests), kind="stable")
    for class_index in np.unique(target):
        members = order[target[order] == class_index]
        is_test[members[: round(test_fraction * len(members))]] = True
    return is_test


def decode_all(spec: DatasetSpec, path: Path, names: list[str], *, skip_damaged: bool) -> Loaded:
    """Decode the files `names` (sorted) of `path` into one array, with a progress bar on a terminal."""
    from tqdm import tqdm

    position = {name: k for k, name in enumerate(names)}
    images = np.zeros((len(names), *spec.image_shape), dtype=np.uint8)
    digests = [""] * len(names)
    problems = []
    files = iterate_files(path, IMAGE_SUFFIXES)
    bar = tqdm(total=len(names), desc=f"import {spec.name}", unit=" images", mininterval=0.5)
    with bar:
        for name, content in files:
            if name not in position:
                continue
            k = position[name]
            try:
                images[k] = decode(content, spec.image_shape, crop=spec.crop, name=f"{path}: {name}")
            except ValueError as error:
                if not skip_damaged:
                    raise
                problems.append(str(error))
            else:
                digests[k] = hashlib.sha256(content).hexdigest()
            bar.update()
    readable = np.array([bool(digest) for digest in digests])
    if problems:
        warnings.warn(f"{len(problems)} damaged images left out, the first: {problems[0]}", stacklevel=2)
        images = images[readable]
    return Loaded(images, [digest for digest in digests if digest], readable)


def _check_classes(spec: DatasetSpec, path: Path, names: list[str], places: dict[str, Place]) -> None:
    found = {place.class_index for place in places.values()}
    missing = [name for k, name in enumerate(spec.class_names) if k not in found]
    if missing:
        seen = ", ".join(find_classes(names)[:20]) or "no folders of images"
        raise ValueError(
            f"{path}: {spec.name} needs images of {', '.join(spec.class_names)}, in one folder a class; "
            f"none were found of {', '.join(missing)} (found: {seen})"
        )


def _plain(name: str) -> str:
    """Compare names of classes without case, plural s, spaces and signs."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("s")
