"""load(): from a dataset's name to its images in memory."""

from __future__ import annotations

from pathlib import Path

from lossbench.data.dataset import Arrays, Dataset, DatasetSpec, Split, channel_statistics, fingerprint
from lossbench.data.registry import DATASETS
from lossbench.data.search import cache_folder, find_dataset, find_tensors, search_roots
from lossbench.data.tensors import SUFFIX, read_about, read_tensors
from lossbench.registry import unknown


def load(name: str, data: Path | None = None) -> Dataset:
    """Read the dataset `name` whole into memory and check its content.

    Args:
        name: a key of `DATASETS`, or the name of a dataset of the user's that was imported.
        data: folder that holds its files; None searches LOSSBENCH_DATA, the cache and Debian's folder.
    Raises ValueError for an unknown name or a file with wrong content, FileNotFoundError when there is none.
    """
    spec = find_spec(name, data)
    place = find_dataset(spec, data)
    if place.suffix == SUFFIX:
        arrays, about = read_tensors(place)
        found, mean, std = about.fingerprint, about.mean, about.std
        if about.class_names != spec.class_names:
            raise ValueError(f"{place}: its classes are {about.class_names}, expected {spec.class_names}")
    else:
        arrays = spec.read(spec, place)
        # Where every file has matched a published digest, the arrays need no second hash.
        verified = spec.fingerprint and spec.files and all(spec.files.values())
        found = spec.fingerprint if verified else fingerprint(arrays)
        mean, std = (spec.mean, spec.std) if spec.mean else channel_statistics(arrays.train_images)
    if spec.fingerprint and found != spec.fingerprint:
        raise ValueError(f"{place}: the content of {name} has fingerprint {found}, expected {spec.fingerprint}")
    check_sizes(spec, arrays, place)
    return Dataset(name, spec.class_names, *as_splits(arrays), found, mean, std)


def find_spec(name: str, data: Path | None = None) -> DatasetSpec:
    """The row of `DATASETS`, or one made from what an imported dataset says about itself.

    Raises ValueError for a name that is neither.
    """
    if name in DATASETS:
        return DATASETS[name]
    path = find_tensors(name, [*search_roots(data), cache_folder()]) if name in imported_names(data) else None
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
        place = None if spec.fingerprint else find_dataset(spec, data)
        return read_about(place).fingerprint if place and place.suffix == SUFFIX else spec.fingerprint
    except (ValueError, FileNotFoundError):
        return ""


def imported_names(data: Path | None = None) -> list[str]:
    """The datasets of the user's own that were imported, sorted."""
    roots = {*search_roots(data), cache_folder()}
    return sorted({path.stem for root in roots for path in root.glob(f"*{SUFFIX}")} - set(DATASETS))


def as_splits(arrays: Arrays) -> tuple[Split, Split]:
    """The arrays as torch tensors of their own, writable memory."""
    import torch

    tensors = [torch.tensor(array) for array in arrays]
    return Split(tensors[0], tensors[1]), Split(tensors[2], tensors[3])


def check_sizes(spec: DatasetSpec, arrays: Arrays, place: Path) -> None:
    """Refuse images of another shape than the row's, and another number of them where a publisher fixed it.

    Raises ValueError naming `place`.
    """
    fixed = bool(spec.files or spec.embedded or spec.split == "official")
    for images, size in ((arrays.train_images, spec.train_size), (arrays.test_images, spec.test_size)):
        if images.shape[1:] != spec.image_shape or (fixed and len(images) != size) or not len(images):
            raise ValueError(
                f"{place}: {spec.name} should hold images of shape {(size, *spec.image_shape)}, "
                f"but this is {images.shape}; import it again from its source"
            )
