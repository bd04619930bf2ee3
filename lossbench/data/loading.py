"""load(): from a dataset's name to its images in memory."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from lossbench.data.dataset import (
    Arrays,
    Dataset,
    DatasetSpec,
    Split,
    as_arrays,
    channel_statistics,
    count_copies,
    damaged,
    find_shortages,
    fingerprint,
)
from lossbench.data.datasets import DATASETS
from lossbench.data.readers import find_file, read_archives
from lossbench.files import DiskFull, replacing, require_writable
from lossbench.registry import unknown

# An imported dataset: one safetensors file that holds its images, its targets and what is known about it.

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Imported:
    """What an imported file says about itself. `origin` names the file or folder it was made from."""

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train_size: int
    test_size: int
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str
    split: str
    train_counts: tuple[int, ...] = ()
    test_counts: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()
    replaced: bool = False
    validation_size: int = 0
    validation_counts: tuple[int, ...] = ()
    copies: tuple[int, int] | tuple[()] = ()

    @property
    def images(self) -> str:
        """The numbers of images and classes."""
        sizes = (self.train_size, self.validation_size, self.test_size)
        return f"{_sum(size for size in sizes if size)} images of {len(self.class_names)} classes"

    def describe(self) -> str:
        """What was read and how: classes, images of each on all sides, the rule of the split, what was left out."""
        lines = [f"imported {self.name}: {self.images}; use it with --dataset {self.name}", *self.details()]
        if self.replaced:
            lines.append(f"replaced  an earlier import named {self.name}")
        return "\n".join(lines)

    def details(self) -> list[str]:
        """A line for each thing that is known about the images."""
        sides = {"train": self.train_counts, "validation": self.validation_counts, "test": self.test_counts}
        counts = zip(*filter(None, sides.values()), strict=True)
        classes = [f"{printable(name)} {_sum(of)}" for name, of in zip(self.class_names, counts, strict=True)]
        lines = [
            f"classes   {', '.join(classes)} ({' + '.join(side for side in sides if sides[side])})",
            f"split     {printable(self.split)}",
            f"left out  {'; '.join(map(printable, self.left_out)) or 'nothing'}",
        ]
        if self.copies and (count := self.copies[0]):
            what = "training or validation" if self.validation_size else "training"
            lines.append(
                f"copies    {count:,} of {self.test_size:,} test images are {what} images too, pixel for pixel, "
                f"{self.copies[1]:,} of them under another class: what a network knows by heart counts as recognised"
            )
        short = find_shortages(self.train_size, self.test_size, self.validation_size)
        lines += [f"too few   {message}" for message in short.values()]
        if constant := [k for k, std in enumerate(self.std) if not std]:
            lines.append(
                f"channels  {constant} of {len(self.std)}, counted from 0, are the same in all training images"
            )
        return lines


def _sum(counts: Iterable[int]) -> str:
    return " + ".join(f"{count:,}" for count in counts)


def printable(text: str) -> str:
    """A name of the user's on one line of any terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]


def write_tensors(
    path: Path, spec: DatasetSpec, arrays: Arrays, *, origin: str, left_out: Counter[tuple[str, str]] | None = None
) -> Imported:
    """Write `arrays` to `path` whole or not at all, with their fingerprint, mean and standard deviation."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    facts = _facts(arrays)
    if not any(facts["std"]):
        raise ValueError(f"{origin}: all training images are the same, one value a channel; there is nothing to learn")
    targets = (arrays.train_target, arrays.test_target, arrays.validation_target)
    counts = [() if t is None else tuple(np.bincount(t, minlength=spec.num_classes).tolist()) for t in targets]
    about = Imported(
        name=spec.name,
        class_names=spec.class_names,
        **facts,
        origin=origin,
        split=spec.split,
        train_counts=counts[0],
        test_counts=counts[1],
        validation_counts=counts[2],
        copies=count_copies(arrays),
        left_out=tuple(f"{n:,} {suffix} ({reason})" for (reason, suffix), n in sorted((left_out or {}).items())),
        replaced=path.exists(),
    )
    text = json.dumps(asdict(about), sort_keys=True)
    try:
        with replacing(path) as temporary:
            save_file(arrays.there(), temporary, metadata={"about": text, "check": _check(text)})
    except (SafetensorError, OSError) as error:
        size = sum(array.nbytes for array in arrays.there().values())
        raise _no_room(path, f"{size:,} bytes", error) from error
    return about


def read_about(path: Path) -> Imported:
    """What `path` says about itself, from its header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        text = metadata["about"]
        if metadata["check"] != _check(text):
            raise ValueError("its description was changed")
        values: dict[str, Any] = json.loads(text)
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        known = {each.name for each in fields(Imported)}  # a later version may say more
        return Imported(**{key: value for key, value in values.items() if key in known})
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise damaged(path, f"it is no dataset that lossbench imported ({error})") from error


def read_tensors(path: Path) -> tuple[Arrays, Imported]:
    """The arrays of `path`, checked against the fingerprint it records.

    Raises ValueError naming the file when a single byte is not what was written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    about = read_about(path)
    try:
        arrays = Arrays(**load_file(path))
    except (SafetensorError, TypeError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if fingerprint(arrays) != about.fingerprint:
        raise damaged(path, f"its fingerprint is not {about.fingerprint}, which it had when it was imported")
    return arrays, about


def require_room(path: Path) -> None:
    """Prove that a file can be written beside `path`, before the work whose result it will hold.

    Raises PermissionError that names the folder and says what to do.
    """
    try:
        require_writable(path.parent)
    except OSError as error:
        raise _no_room(path, "a file", error) from error


def _no_room(path: Path, what: str, error: Exception) -> PermissionError:
    reason = error.__cause__ if isinstance(error, DiskFull) else error
    return PermissionError(
        f"cannot write {what} to {path} ({reason}); make room there, or choose another folder with LOSSBENCH_CACHE"
    )


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# Where datasets are looked for: the folder named, LOSSBENCH_DATA, the cache, Debian's folder.

DEBIAN = Path("/usr/share/datasets")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REMEDY = (
    "name a folder that holds the dataset's files (`lossbench data info NAME` lists them), "
    "or none: fashion-mini, inside the package, needs no folder"
)


def cache_folder() -> Path:
    """Where imported datasets are kept; LOSSBENCH_CACHE overrides the platform's folder."""
    if chosen := os.environ.get("LOSSBENCH_CACHE"):
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("lossbench", appauthor=False).expanduser()  # RuntimeError without a home


def cache_path(name: str) -> Path:
    """Where the cache keeps the imported dataset `name`. Raises ValueError for a name that is no plain file name."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a dataset; use letters, digits, '.', '_' and '-', at most 100 of them, "
            "the first a letter or digit"
        )
    return cache_folder() / f"{name}{SUFFIX}"


def search_roots(data: Path | None = None) -> list[Path]:
    """The folders that are searched, first to last; a folder `data` that the user names is searched alone.

    Raises FileNotFoundError when a folder that the user names is missing or empty.
    """
    if data is not None:
        return [_existing(Path(data), "the data folder")]
    named = os.environ.get("LOSSBENCH_DATA")
    return [*([_existing(Path(named), "LOSSBENCH_DATA")] if named else []), cache_folder(), DEBIAN]


def find_dataset(spec: DatasetSpec, data: Path | None = None) -> Path:
    """The folder that holds the files of `spec`, or the one file that an import made of them.

    Args:
        data: a folder the user names; then only this one is searched, and the cache for what was imported.
    Raises FileNotFoundError that says where was looked, what was expected and how to get it.
    """
    if spec.generate:
        return Path(inspect.getfile(spec.generate))
    if spec.embedded:
        if data is not None:
            search_roots(data)
        return Path(__file__).parent / spec.embedded
    roots = search_roots(data)
    if spec.read is read_archives and (unpacked := find_tensors(spec.name, [*roots, cache_folder()])):
        return unpacked
    for root in roots:
        if path := find_tensors(spec.name, [root]) or find_files(spec, root):
            return path
    # What has to be imported is read from the cache, even where the folder named holds its source.
    imported = None if spec.files else find_tensors(spec.name, [cache_folder()])
    return imported or _refuse(spec, roots)


@cache
def generated(spec: DatasetSpec) -> tuple[DatasetSpec, Arrays]:
    """What a function of the user's makes, called once a process, and the row with what is known of it then."""
    assert spec.generate is not None
    arrays = as_arrays(spec.name, spec.generate())
    targets = [array for side, array in arrays.there().items() if side.endswith("_target") and len(array)]
    most, least = max(int(target.max()) for target in targets), min(int(target.min()) for target in targets)
    names = spec.class_names or tuple(map(str, range(most + 1)))
    if least < 0 or most >= len(names):
        raise ValueError(f"data set {spec.name!r} has targets {least} to {most}, and {len(names)} class names")
    return replace(spec, read=lambda spec, folder: arrays, class_names=names, **_facts(arrays)), arrays


def _facts(arrays: Arrays) -> dict[str, Any]:
    """What a data set says about its images."""
    mean, std = channel_statistics(arrays.train_images)
    return {
        "image_shape": arrays.train_images.shape[1:],
        "train_size": len(arrays.train_images),
        "test_size": len(arrays.test_images),
        "validation_size": 0 if arrays.validation_images is None else len(arrays.validation_images),
        "fingerprint": fingerprint(arrays),
        "mean": mean,
        "std": std,
    }


def find_tensors(name: str, roots: list[Path]) -> Path | None:
    """The imported dataset `name`, the first of the `roots` that has it."""
    return next((path for root in roots if (path := root / f"{name}{SUFFIX}").is_file()), None)


def find_files(spec: DatasetSpec, root: Path) -> Path | None:
    """The first of `root` and its known subfolders that holds every file of `spec`, packed or not."""
    if not spec.files:
        return None
    return next((folder for folder in _folders(spec, root) if not _missing(spec, folder)), None)


def _existing(folder: Path, what: str) -> Path:
    folder = folder.expanduser()
    if not folder.is_dir():
        why = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{what} {str(folder)!r} {why}; {_REMEDY}")
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"{what} {str(folder)!r} is empty; {_REMEDY}")
    return folder


def _folders(spec: DatasetSpec, root: Path) -> list[Path]:
    return [root, *(root / name for name in (spec.name, *spec.folders))]


def _missing(spec: DatasetSpec, folder: Path) -> list[str]:
    return [name for name in spec.files if find_file(folder, name) is None]


def _refuse(spec: DatasetSpec, roots: list[Path]) -> Path:
    expected = f"{spec.name}{SUFFIX}"
    if spec.files:
        expected += f", or in it or its subfolder {' or '.join((spec.name, *spec.folders))}: {', '.join(spec.files)}"
        expected += " (or these with .gz)"
    partly = [
        f"{folder} lacks {', '.join(missing)}. "
        for root in roots
        for folder in _folders(spec, root)
        if 0 < len(missing := _missing(spec, folder)) < len(spec.files)
    ]
    remedies = [
        "name the folder that holds it: --data FOLDER or LOSSBENCH_DATA=FOLDER",
        f"import its files or archive once: lossbench data import PATH --name {spec.name}",
        f"fetch it, with a network: lossbench data download {spec.name}" if spec.urls else "",
        f"get it from {spec.source}" if not spec.source.startswith("apt") else spec.source,
        "use fashion-mini, which is inside the package: --dataset fashion-mini",
    ]
    listed = [f"\n  {k}. {remedy}" for k, remedy in enumerate(filter(None, remedies), start=1)]
    raise FileNotFoundError(
        f"{spec.name} was not found in {', '.join(map(str, roots))}; expected there: {expected}. "
        f"{''.join(partly)}Ways to get it:{''.join(listed)}"
    )


def load(name: str, data: Path | None = None) -> Dataset:
    """Read the dataset `name` whole into memory and check its content.

    Args:
        name: a key of `DATASETS`, or the name of a dataset of the user's that was imported.
        data: folder that holds its files; None searches LOSSBENCH_DATA, the cache and Debian's folder.
    Raises ValueError for an unknown name or a file with wrong content, FileNotFoundError when there is none.
    """
    import torch

    spec = find_spec(name, data)
    path = find_dataset(spec, data)
    if spec.read is read_archives and path.suffix != SUFFIX:
        path = _unpack(spec, path)
    if path.suffix == SUFFIX:
        arrays, about = read_tensors(path)
        digest, mean, std = about.fingerprint, about.mean, about.std
        if about.class_names != spec.class_names:
            raise ValueError(f"{path}: its classes are {about.class_names}, expected {spec.class_names}")
    else:
        arrays = spec.read(spec, path)
        # Where every file has matched a published digest, the arrays need no second hash.
        verified = spec.fingerprint and spec.files and all(spec.files.values())
        digest = spec.fingerprint if verified else fingerprint(arrays)
        mean, std = (spec.mean, spec.std) if spec.mean else channel_statistics(arrays.train_images)
    if spec.fingerprint and digest != spec.fingerprint:
        raise ValueError(f"{path}: the content of {name} has fingerprint {digest}, expected {spec.fingerprint}")
    check_sizes(spec, arrays, path)
    scale = tuple(value or 1.0 for value in std)  # a constant channel is moved to 0, not divided by 0
    tensors = [torch.tensor(array) for array in arrays.there().values()]  # in writable memory of their own
    train, test, *own = (Split(*pair) for pair in zip(tensors[::2], tensors[1::2], strict=True))
    return Dataset(name, spec.class_names, train, test, digest, mean, scale, *own)


def _unpack(spec: DatasetSpec, folder: Path) -> Path:
    """Read the archives of `spec` in `folder` once; the file in the cache that holds what they hold."""
    start = time.perf_counter()
    path = cache_path(spec.name)
    require_room(path)
    arrays = spec.read(spec, folder)
    check_sizes(spec, arrays, folder)
    about = write_tensors(path, spec, arrays, origin=folder.name)
    seconds = time.perf_counter() - start
    sys.stderr.write(f"{spec.name}: {about.images} read from {folder} in {seconds:.0f} s, kept in {path}\n")
    return path


def find_spec(name: str, data: Path | None = None) -> DatasetSpec:
    """The row of `DATASETS`, or one made from what an imported dataset says about itself.

    Raises ValueError for a name that is neither.
    """
    spec = DATASETS.get(name)
    if spec and spec.generate:
        return generated(spec)[0]
    if spec and (spec.files or spec.embedded):
        return spec
    roots = [*search_roots(data), cache_folder()]
    path = find_tensors(name, roots) if spec or name in imported_names(data) else None
    if spec:  # an import may hold fewer images than were published
        about = read_about(path) if path else spec
        return replace(spec, train_size=about.train_size, test_size=about.test_size)
    if path is None:
        raise ValueError(unknown("dataset", name, [*DATASETS, *imported_names(data)]))
    about = read_about(path)
    return DatasetSpec(
        name,
        lambda spec, folder: read_tensors(folder)[0],
        class_names=about.class_names,
        image_shape=about.image_shape,
        train_size=about.train_size,
        test_size=about.test_size,
        validation_size=about.validation_size,
        split=about.split,
        licence="the user's",
        citation="",
        source=f"imported from {about.origin}",
        fingerprint=about.fingerprint,
        mean=about.mean,
        std=about.std,
    )


def known_fingerprint(name: str, data: Path | None = None) -> str:
    """The fingerprint of what `load` would read; "" where only reading it tells, or where nothing is there."""
    try:
        spec = find_spec(name, data)
        path = None if spec.fingerprint else find_dataset(spec, data)
        return read_about(path).fingerprint if path and path.suffix == SUFFIX else spec.fingerprint
    except (ValueError, FileNotFoundError):
        return ""


def imported_names(data: Path | None = None) -> list[str]:
    """The datasets of the user's own that were imported, sorted."""
    roots = {*search_roots(data), cache_folder()}
    return sorted({path.stem for root in roots for path in root.glob(f"*{SUFFIX}")} - set(DATASETS))


def check_sizes(spec: DatasetSpec, arrays: Arrays, path: Path) -> None:
    """Refuse images of another shape than the row's, and another number of them where a publisher fixed it."""
    fixed = bool(spec.files or spec.embedded or spec.split == "official")
    for images, size in ((arrays.train_images, spec.train_size), (arrays.test_images, spec.test_size)):
        if images.shape[1:] != spec.image_shape or (fixed and len(images) != size) or not len(images):
            raise ValueError(
                f"{path}: {spec.name} should hold images of shape {(size, *spec.image_shape)}, "
                f"but this is {images.shape}; import it again from its source"
            )
