"""Small stand-ins for every dataset, in their publishers' formats; conftest.py makes the fixtures known."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from lossbench.data import DATASETS
from lossbench.data.dataset import Arrays, DatasetSpec
from lossbench.data.idx import IDX_FILES, write_idx

RNG = np.random.default_rng(0)


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOSSBENCH_DATA", raising=False)
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DatasetSpec]:
    """Shrink a row of DATASETS to a miniature whose digests are not known."""

    def shrink(name: str, train_size: int, test_size: int) -> DatasetSpec:
        row = DATASETS[name]
        spec = replace(
            row,
            train_size=train_size,
            test_size=test_size,
            files=dict.fromkeys(row.files, ""),
            fingerprint="",
            mean=(),
            std=(),
        )
        monkeypatch.setitem(DATASETS, name, spec)
        return spec

    return shrink


def _random(count: int, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    images = RNG.integers(0, 256, (count, *spec.image_shape), dtype=np.uint8)
    return images, np.arange(count, dtype=np.int64) % spec.num_classes


def write_idx_files(spec: DatasetSpec, folder: Path) -> Arrays:
    train, test = _random(spec.train_size, spec), _random(spec.test_size, spec)
    suffixes = ("", ".gz", "", ".gz")
    parts = (train[0][:, 0], train[1], test[0][:, 0], test[1])
    for name, suffix, part in zip(IDX_FILES, suffixes, parts, strict=True):
        write_idx(folder / f"{name}{suffix}", part.astype(np.uint8))
    return Arrays(*train, *test)


def write_cifar_files(spec: DatasetSpec, folder: Path) -> Arrays:
    train, test = _random(spec.train_size, spec), _random(spec.test_size, spec)
    names = [name for name in spec.files if name not in ("test", "test_batch")]
    for name, rows in zip(names, np.array_split(np.arange(spec.train_size), len(names)), strict=True):
        _write_batch(folder / name, train[0][rows], train[1][rows])
    _write_batch(folder / ("test_batch" if "test_batch" in spec.files else "test"), *test)
    return Arrays(*train, *test)


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote, which is what the publisher gives: bytes and str as its one string type."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, text: bytes | str) -> None:
        content = text.encode("latin-1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


def _write_batch(path: Path, images: np.ndarray, target: np.ndarray) -> None:
    batch = {b"data": images.reshape(len(images), -1), b"batch_label": b"one"}
    for key in (b"labels", b"fine_labels", b"coarse_labels"):
        batch[key] = target.tolist()
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(batch)
    path.write_bytes(buffer.getvalue().replace(b"numpy._core", b"numpy.core"))  # its name before numpy 2


def write_svhn_files(spec: DatasetSpec, folder: Path) -> Arrays:
    from scipy.io import savemat

    train, test = _random(spec.train_size, spec), _random(spec.test_size, spec)
    for name, (images, target) in zip(spec.files, (train, test), strict=True):
        digits = np.where(target == 0, 10, target)[:, None].astype(np.uint8)
        savemat(folder / name, {"X": images.transpose(2, 3, 1, 0), "y": digits})
    return Arrays(*train, *test)


def write_class_folders(spec: DatasetSpec, folder: Path) -> Arrays:
    """Lossless images, split by folders, so that every pixel must come back."""
    train, test = _random(spec.train_size, spec), _random(spec.test_size, spec)
    for split, (images, target) in (("train", train), ("test", test)):
        order = {}
        for k, (image, index) in enumerate(zip(images, target, strict=True)):
            path = folder / split / spec.class_names[index] / f"{k:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
            order[path] = k
        ranks = [order[path] for path in sorted(order)]
        images[:], target[:] = images[ranks], target[ranks]
    return Arrays(*train, *test)


def write_ham_files(spec: DatasetSpec, folder: Path) -> Arrays:
    """Six images a class, each lesion photographed twice; the reader sorts by image id."""
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    images, target = _random(6 * spec.num_classes, spec)
    target = np.sort(target)
    for k, index in enumerate(target):
        part = folder / f"HAM10000_images_part_{1 + k % 2}"
        part.mkdir(exist_ok=True)
        Image.fromarray(images[k].transpose(1, 2, 0)).save(part / f"ISIC_{k:07}.png")
        lines.append(f"HAM_{k // 2:07},ISIC_{k:07},{spec.class_names[index]},histo,50,male,back")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines))
    return Arrays(images, target, images[:0], target[:0])


MINIATURES: dict[str, Callable[[DatasetSpec, Path], Arrays]] = {
    "fashion-mnist": write_idx_files,
    "kmnist": write_idx_files,
    "kmnist-10k": write_idx_files,
    "mnist": write_idx_files,
    "cifar-10": write_cifar_files,
    "cifar-10-jpeg": write_class_folders,
    "cifar-100": write_cifar_files,
    "cifar-100-coarse": write_cifar_files,
    "svhn": write_svhn_files,
    "flowers": write_class_folders,
    "ham10000": write_ham_files,
    "dogs-vs-cats": write_class_folders,
}


@pytest.fixture
def miniature(small: Callable[..., DatasetSpec], tmp_path: Path) -> Callable[[str], tuple[Path, Arrays]]:
    def write(name: str) -> tuple[Path, Arrays]:
        classes = DATASETS[name].num_classes
        spec = small(name, 2 * classes, classes)
        folder = tmp_path / "source"
        folder.mkdir()
        arrays = MINIATURES[name](spec, folder)
        if name == "kmnist-10k":  # only the test files are read, and divided 4:1
            images, target = arrays.test_images, arrays.test_target
            small(name, len(images), 0)
            arrays = Arrays(images, target, images[:0], target[:0])
            spec = replace(DATASETS[name], test_fraction=0.0)
        return folder, arrays

    return write


def png(value: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, value).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    folder = tmp_path / "My pets!"
    for c, value in (("zebra", 10), ("ant", 200)):
        (folder / c).mkdir(parents=True)
        for k in range(10):
            (folder / c / f"{k}.png").write_bytes(png(value + k, (12, 8)))
    return folder
