"""Read and write idx, the format of the MNIST family: a big-endian header, then the bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lossbench.data.class_folders import split_by_digest
from lossbench.data.dataset import Arrays, Bytes, Indices
from lossbench.data.integrity import check_digest, damaged

if TYPE_CHECKING:
    from lossbench.data.dataset import DatasetSpec

TRAIN_IMAGES, TRAIN_TARGET = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_TARGET = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_FILES = (TRAIN_IMAGES, TRAIN_TARGET, TEST_IMAGES, TEST_TARGET)


def read_idx_dataset(spec: DatasetSpec, folder: Path) -> Arrays:
    """The four idx files of `folder`, packed or not, each checked against the digest that `spec` knows."""
    parts = {name: _read_checked(spec, folder, name) for name in spec.files}
    for images, target in ((TRAIN_IMAGES, TRAIN_TARGET), (TEST_IMAGES, TEST_TARGET)):
        if len(parts[images]) != len(parts[target]):
            what = f"{len(parts[images])} images but {target} has {len(parts[target])} targets"
            raise damaged(folder / images, what)
    return Arrays(
        _as_images(parts[TRAIN_IMAGES]),
        _as_target(parts[TRAIN_TARGET]),
        _as_images(parts[TEST_IMAGES]),
        _as_target(parts[TEST_TARGET]),
    )


def read_idx_test_split(spec: DatasetSpec, folder: Path) -> Arrays:
    """Only the two test files of `folder`, divided by the digest of each image: see `split_by_digest`."""
    images, target = (_read_checked(spec, folder, name) for name in (TEST_IMAGES, TEST_TARGET))
    if len(images) != len(target):
        raise damaged(folder / TEST_IMAGES, f"{len(images)} images but {len(target)} targets")
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    is_test = split_by_digest(_as_target(target), digests, spec.test_fraction)
    images, classes = _as_images(images), _as_target(target)
    return Arrays(images[~is_test], classes[~is_test], images[is_test], classes[is_test])


def find_file(folder: Path, name: str) -> Path | None:
    """`name` or `name`.gz in `folder`."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx(path: Path, digest: str = "") -> Bytes:
    """The array in the idx file at `path` (.gz or not).

    Raises ValueError naming the file when it is no idx file, is cut short or has another digest.
    """
    packed = path.read_bytes()
    try:
        payload = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"it does not unpack ({error})") from error
    check_digest(path, digest, payload, packed)
    return parse_idx(payload, path)


def parse_idx(payload: bytes, path: Path) -> Bytes:
    """The uint8 array that `payload` holds; `path` is named in errors."""
    if len(payload) < 4 or payload[:3] != b"\0\0\x08":
        raise damaged(path, f"an idx file of bytes starts with 00 00 08, this one with {payload[:3].hex(' ')!r}")
    ndim = payload[3]
    shape = tuple(int(size) for size in np.frombuffer(payload[4 : 4 + 4 * ndim], dtype=">u4"))
    expected = 4 + 4 * ndim + int(np.prod(shape, dtype=np.int64))
    if len(shape) != ndim or len(payload) != expected:
        raise damaged(path, f"it holds {len(payload):,} bytes where its header {shape} asks for {expected:,}")
    return np.frombuffer(payload, dtype=np.uint8, offset=4 + 4 * ndim).reshape(shape)


def write_idx(path: Path, array: Bytes) -> None:
    """Write `array` to `path` as idx; packed with no time and no name inside when it ends in .gz."""
    header = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    payload = header + np.ascontiguousarray(array).tobytes()
    if path.suffix != ".gz":
        path.write_bytes(payload)
        return
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as packed:
        packed.write(payload)
    path.write_bytes(buffer.getvalue())


def _read_checked(spec: DatasetSpec, folder: Path, name: str) -> Bytes:
    path = find_file(folder, name)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {name} (or {name}.gz), which {spec.name} needs")
    array = read_idx(path, spec.files[name])
    ndim = 3 if "images" in name else 1
    if array.ndim != ndim:
        raise damaged(path, f"it should hold an array of {ndim} dimensions, but holds {array.shape}")
    if ndim == 1 and array.size and array.max() >= spec.num_classes:
        raise damaged(path, f"it names class {array.max()}, but {spec.name} has {spec.num_classes} classes")
    return array


def _as_images(array: Bytes) -> Bytes:
    return array[:, None]


def _as_target(array: Bytes) -> Indices:
    return array.astype(np.int64)
