"""Read the python batches of CIFAR-10 and CIFAR-100.

Their publisher gives them as pickles. A pickle can run any code, so this is the one file that imports pickle, and it
allows nothing but the parts an array is made of: see `ArraysOnly`.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.data.dataset import Arrays, Bytes, Indices
from lossbench.data.integrity import check_digest, damaged

if TYPE_CHECKING:
    from lossbench.data.dataset import DatasetSpec

_MAKE_ARRAY = np.empty(0).__reduce__()[0]  # numpy's own function, whose module changes its name between versions
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _MAKE_ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _MAKE_ARRAY,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArraysOnly(pickle.Unpickler):
    """Unpickles numbers, strings, lists, dicts and numpy arrays; every other name in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs")


def read_cifar10(spec: DatasetSpec, folder: Path) -> Arrays:
    """data_batch_1 to 5 and test_batch of `folder`."""
    batches = {name: _read_batch(spec, folder, name, b"labels") for name in spec.files}
    train = [batches[name] for name in spec.files if name != "test_batch"]
    images = np.concatenate([batch[0] for batch in train])
    target = np.concatenate([batch[1] for batch in train])
    return Arrays(images, target, *batches["test_batch"])


def read_cifar100(spec: DatasetSpec, folder: Path) -> Arrays:
    """train and test of `folder`, with the 100 fine classes, or the 20 coarse ones where `spec` has 20."""
    key = b"coarse_labels" if spec.num_classes == 20 else b"fine_labels"
    return Arrays(*_read_batch(spec, folder, "train", key), *_read_batch(spec, folder, "test", key))


def _read_batch(spec: DatasetSpec, folder: Path, name: str, key: bytes) -> tuple[Bytes, Indices]:
    path = folder / name
    payload = path.read_bytes()
    check_digest(path, spec.files[name], payload)
    try:
        batch = ArraysOnly(io.BytesIO(payload), encoding="bytes").load()
        images = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, *spec.image_shape)
        target = np.asarray(batch[key], dtype=np.int64)
    except Exception as error:  # a damaged pickle can raise anything
        raise damaged(path, f"it is no CIFAR batch ({error})") from error
    if len(images) != len(target) or (len(target) and not 0 <= target.min() <= target.max() < spec.num_classes):
        raise damaged(path, f"{len(images)} images with {len(target)} targets of {spec.num_classes} classes")
    return images, target
