"""load(): from a dataset's name to its images in memory."""

from __future__ import annotations

from pathlib import Path

from lossbench.data.dataset import Arrays, Dataset, DatasetSpec, Split, channel_statistics, fingerprint
from lossbench.data.registry import DATASETS
from lossbench.data.search import find_dataset
from lossbench.names import unknown


def load(name: str, data: Path | None = None) -> Dataset:
    """Read the dataset `name` whole into memory and check its content.

    Args:
        name: a key of `DATASETS`.
        data: folder that holds its files; None searches LOSSBENCH_DATA, the cache and Debian's folder.
    Raises ValueError for an unknown name or a file with wrong content, FileNotFoundError when there is none.
    """
    if name not in DATASETS:
        raise ValueError(unknown("dataset", name, DATASETS))
    spec = DATASETS[name]
    folder = find_dataset(spec, data)
    arrays = spec.read(spec, folder)
    _check_sizes(spec, arrays, folder)
    # Where every file has matched a published digest, the arrays need no second hash.
    verified = bool(spec.fingerprint) and bool(spec.files) and all(spec.files.values())
    found = spec.fingerprint if verified else fingerprint(arrays)
    if spec.fingerprint and found != spec.fingerprint:
        raise ValueError(
            f"{folder}: the content of {name} has fingerprint {found}, expected {spec.fingerprint}"
        )
    mean, std = (spec.mean, spec.std) if spec.mean else channel_statistics(arrays.train_images)
    return Dataset(name, spec.class_names, *as_splits(arrays), found, mean, std)


def as_splits(arrays: Arrays) -> tuple[Split, Split]:
    """The arrays as torch tensors of their own, writable memory."""
    import torch

    tensors = [torch.tensor(array) for array in arrays]
    return Split(tensors[0], tensors[1]), Split(tensors[2], tensors[3])


def _check_sizes(spec: DatasetSpec, arrays: Arrays, folder: Path) -> None:
    for images, size in ((arrays.train_images, spec.train_size), (arrays.test_images, spec.test_size)):
        if images.shape != (size, *spec.image_shape):
            raise ValueError(
                f"{folder}: {spec.name} should hold images of shape {(size, *spec.image_shape)}, "
                f"but this is {images.shape}; delete the folder and fetch the dataset again"
            )
