"""What a dataset is once it is in memory: two splits of uint8 images, and how to name and check them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from torch import Tensor


Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their classes.

    Args:
        images: (N, C, H, W) uint8, 0 to 255; or (N, features) float32, what a frozen network has made of them.
        target: (N,) int64 class indices.

    Raises ValueError when shapes or types are others.
    """

    images: Tensor
    target: Tensor

    def __post_init__(self) -> None:
        import torch

        if (self.images.dtype, self.images.ndim) not in ((torch.uint8, 4), (torch.float32, 2)):
            raise ValueError(f"images must be uint8 (N, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}")
        if self.target.dtype != torch.int64 or self.target.shape != self.images.shape[:1]:
            raise ValueError(
                f"target must be int64 ({len(self.images)},), got {self.target.dtype} {tuple(self.target.shape)}"
            )

    def __len__(self) -> int:
        return len(self.target)

    def subset(self, indices: Tensor) -> Split:
        """The images at `indices` (M,) int64, in that order."""
        indices = indices.to(self.target.device)
        return Split(self.images[indices], self.target[indices])

    def to(self, device: torch.device | str) -> Split:
        """The same split on `device`."""
        return Split(self.images.to(device), self.target.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in memory; `mean` and `std` per channel are those of the training images, scaled to 0-1.

    `validation` are images of its own to choose the epoch on; None lets a run hold some of the training images out.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    validation: Split | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """`train`, `test` and, where the dataset has its own, `validation`."""
        splits = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: split for name, split in splits.items() if split is not None}

    def to(self, device: torch.device | str) -> Dataset:
        """The same dataset on `device`."""
        return self.with_splits({name: split.to(device) for name, split in self.splits.items()})

    def with_splits(self, splits: Mapping[str, Split]) -> Dataset:
        """A dataset with others in the place of `splits`."""
        return replace(self, train=splits["train"], test=splits["test"], validation=splits.get("validation"))

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


VALIDATION_FRACTION = 0.1  # of the training images, held out to choose the epoch on
LEAST_TEST_IMAGES = 9  # recall@8 looks at eight others
FEW_TEST_IMAGES = 30  # one of fewer is more than three percentage points


def find_shortages(train: int, test: int, validation: int = 0) -> dict[str, str]:
    """What such numbers of images are too few for: `selection` of the epoch, `scores`, or a `comparison` of them."""
    short = {}
    if not validation and not 0 < round(VALIDATION_FRACTION * train) < train:
        short["selection"] = (
            f"{train} training images, of which {VALIDATION_FRACTION:g} are none to validate on; add images, or "
            "choose the epoch with selection='best_test'"
        )
    more = "add images, or import them again with a larger --test-fraction"
    if test < LEAST_TEST_IMAGES:
        short["scores"] = f"{test} test images; recall@8 needs at least {LEAST_TEST_IMAGES}: {more}"
    elif test < FEW_TEST_IMAGES:
        short["comparison"] = (
            f"{test} test images, each of which is {100 / test:.1f} percentage points of accuracy: losses that "
            f"differ by less cannot be told apart; {more}"
        )
    return short


def require_enough_images(dataset: Dataset, selection: str = "validation") -> None:
    """Refuse before the first step what a run could not score after the last, and warn of scores that say little."""
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    for what, message in find_shortages(**sizes).items():
        if what == "comparison":
            warnings.warn(f"{dataset.name} has {message}", stacklevel=3)
        elif what == "scores" or selection != "best_test":
            raise ValueError(f"{dataset.name} has {message}")


def count_copies(arrays: Arrays) -> tuple[int, int]:
    """How many test images are, pixel for pixel, images of another split too, and how many of these of another class.

    Where an image has copies of several classes, one of its own class is enough to count it as of the same class.
    """
    seen: dict[bytes, set[int]] = {}
    others = ((arrays.train_images, arrays.train_target), (arrays.validation_images, arrays.validation_target))
    for images, target in others:
        if images is not None and target is not None:
            for image, k in zip(images, target.tolist(), strict=True):
                seen.setdefault(hashlib.sha256(image.tobytes()).digest(), set()).add(k)
    pairs = zip(arrays.test_images, arrays.test_target.tolist(), strict=True)
    copies = [k in found for image, k in pairs if (found := seen.get(hashlib.sha256(image.tobytes()).digest()))]
    return len(copies), copies.count(False)


class Arrays(NamedTuple):
    """What a reader returns: images (N, C, H, W) uint8 and targets (N,) int64 of each split; most have two."""

    train_images: Bytes
    train_target: Indices
    test_images: Bytes
    test_target: Indices
    validation_images: Bytes | None = None
    validation_target: Indices | None = None

    def there(self) -> dict[str, Bytes | Indices]:
        """The arrays that there are, by name."""
        return {name: array for name, array in self._asdict().items() if array is not None}


@dataclass(frozen=True, eq=False)
class DatasetSpec:
    """One row of `DATASETS`: everything that is known about a dataset before it is read.

    Args:
        read: (spec, folder) -> Arrays; where `files` is empty, (spec, files of the user) -> Arrays.
        image_shape: (C, H, W).
        split: where the division into training and test images comes from; "official" is its publisher's.
        test_fraction: share of the images that go to test where there is no official split.
        group: name of an image -> what must not be on both sides, where the images themselves do not say.
        crop: cut the middle out of larger images instead of stretching them.
        source: where to get it; `urls` are fetched only by `lossbench data download`.
        files: file in the folder -> digest, "" where none is published. Digests are `sha256:` or `md5:` of
            the unpacked bytes, or `gz-md5:` of the packed file.
        folders: where the files may lie below the folder that is searched.
        fingerprint: of the arrays, see `fingerprint`; "" where it is known only after an import.
        mean, std: of the training images on the 0-1 scale, per channel; () where known only after an import.
        embedded: folder beside this module that holds the files of what ships with the package.
        title: the name to report results under, where it is not `name`.
        generate: a function of the user's that makes the images; sizes and fingerprint are known when it was called.
        tail: images of the largest class for one of the smallest, where classes are of very different size.
    """

    name: str
    read: Callable[..., Arrays]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train_size: int
    test_size: int
    licence: str
    citation: str
    source: str
    split: str = "official"
    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    test_fraction: float = 0.0
    group: Callable[[str], str] | None = None
    crop: bool = False
    fingerprint: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    embedded: str = ""
    title: str = ""
    generate: Callable[[], Any] | None = None
    validation_size: int = 0
    tail: float = 1.0

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def as_arrays(name: str, made: object) -> Arrays:
    """What a function of the user's returned as `Arrays`; ValueError or TypeError that says what they must be."""
    expected = (
        f"data set {name!r} must return train_images, train_target, test_images, test_target, and may add "
        "validation_images, validation_target"
    )
    if not isinstance(made, tuple | list) or len(made) not in (4, 6):
        got = f"{len(made)} things" if isinstance(made, tuple | list) else type(made).__name__
        raise TypeError(f"{expected}; it returned {got}")
    arrays: list[Any] = []
    shape = np.shape(made[0])
    for what, one, other in zip(("training", "test", "validation"), made[::2], made[1::2], strict=False):
        images, target = np.asarray(one), np.asarray(other)
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(
                f"{expected}: {what} images must be uint8 (N, channels, height, width) or (N, height, width), "
                f"0 to 255, got {images.dtype} {images.shape}"
            )
        if not np.issubdtype(target.dtype, np.integer) or target.shape != images.shape[:1]:
            raise ValueError(
                f"{expected}: the {what} target must be whole numbers ({len(images)},), got {target.dtype} "
                f"{target.shape}"
            )
        if images.shape[1:] != shape[1:]:
            raise ValueError(
                f"data set {name!r} has training images of {shape[1:]} and {what} images of {images.shape[1:]}; "
                "give one shape"
            )
        arrays += [images if images.ndim == 4 else images[:, None], target.astype(np.int64)]
    if len(shape) == 4 and shape[1] > 4 >= shape[3]:
        raise ValueError(f"data set {name!r}: channels come first, got {shape}; use images.transpose(0, 3, 1, 2)")
    whole = Arrays(*arrays)
    if len(np.unique(whole.train_target)) < 2:
        raise ValueError(f"data set {name!r} has training images of one class only; there is nothing to tell apart")
    return whole


def fingerprint(arrays: Arrays) -> str:
    """The sha256 of all arrays with their shapes: equal for equal data, whatever file it came from."""
    digest = hashlib.sha256()
    for name, array in arrays.there().items():
        digest.update(f"{name}{array.shape}".encode())
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(np.ascontiguousarray(little_endian).data)
    return digest.hexdigest()


def channel_statistics(images: Bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of (N, C, H, W) uint8 images, on the 0-1 scale.

    Sums are of integers, hence the same on every machine.
    """
    squares = np.arange(256, dtype=np.uint16) ** 2
    means, stds = [], []
    for channel in range(images.shape[1]):
        total = square = 0
        for start in range(0, len(images), 4096):  # a block at a time: `squares[...]` doubles the memory
            block = images[start : start + 4096, channel]
            total += int(block.sum(dtype=np.uint64))
            square += int(squares[block].sum(dtype=np.uint64))
        count = images.size // images.shape[1]
        mean = total / count
        means.append(mean / 255)
        stds.append(max(square / count - mean**2, 0.0) ** 0.5 / 255)
    return tuple(means), tuple(stds)


# Digests of files, and the one wording for a file that is not what it should be.


OWNERS: dict[str, str] = {}  # digest of a file -> the dataset that it belongs to


def check_digest(path: Path, expected: str, payload: bytes, packed: bytes | None = None) -> None:
    """Refuse `payload` unless its digest is `expected` ("" accepts everything).

    Args:
        expected: "sha256:<hex>" or "md5:<hex>" of `payload`, or "gz-md5:<hex>" of `packed`, the file as it
            lies on disk, which is all that some publishers give; skipped for a file already unpacked.
    Raises ValueError naming the file.
    """
    kind, _, digest = expected.partition(":")
    if kind == "gz-md5":
        if path.suffix != ".gz" or packed is None:
            return
        payload = packed
    if not digest:
        return
    algorithm = "sha256" if kind == "sha256" else "md5"
    actual = hashlib.new(algorithm, payload, usedforsecurity=False).hexdigest()
    if actual != digest:
        owner = f": it is a file of {OWNERS[actual]}" if actual in OWNERS else ""
        raise damaged(path, f"its {algorithm} is {actual}, expected {digest}{owner}")


def damaged(path: Path, what: str) -> ValueError:
    """The error for a file whose content is wrong."""
    return ValueError(
        f"{path}: not the expected content: {what}. It is damaged or another file under this name: get it again "
        "from its source, or name the right one (for images inside the package: reinstall lossbench)"
    )
