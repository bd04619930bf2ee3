"""Datasets that need no download: content, integrity, search, and the rebuild of what the package ships."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lossbench.data import DATASETS, Split, load
from lossbench.data.build_fashion_mini import EMBEDDED, build, choose
from lossbench.data.dataset import channel_statistics, fingerprint
from lossbench.data.idx import IDX_FILES, read_idx, write_idx
from lossbench.data.search import DEBIAN, cache_folder, find_dataset

FULL = DEBIAN / "fashion-mnist"
SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_full = pytest.mark.skipif(not FULL.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
HERE = sorted(name for name, spec in DATASETS.items() if spec.embedded)


@pytest.fixture(autouse=True)
def _no_folder_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOSSBENCH_DATA", raising=False)
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the embedded files that a test may damage, and that load() reads."""
    folder = tmp_path / "fashion_mini"
    shutil.copytree(EMBEDDED, folder)
    monkeypatch.setattr("lossbench.data.loading.find_dataset", lambda spec, data: folder)
    return folder


@pytest.mark.parametrize("name", HERE)
def test_what_needs_no_files_loads_as_its_row_says(name: str) -> None:
    spec, dataset = DATASETS[name], load(name)
    for split, size in ((dataset.train, spec.train_size), (dataset.test, spec.test_size)):
        assert split.images.shape == (size, *spec.image_shape)
        assert split.images.dtype == torch.uint8
        assert split.target.dtype == torch.int64
        assert split.target.bincount().tolist() == [size // spec.num_classes] * spec.num_classes
    assert dataset.class_names == spec.class_names


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if spec.mean])
def test_recorded_mean_std_and_fingerprint_are_those_of_the_images(name: str) -> None:
    spec = DATASETS[name]
    try:
        arrays = spec.read(spec, find_dataset(spec, SHARED if SHARED.is_dir() and "fashion" not in name else None))
    except FileNotFoundError:
        pytest.skip(f"the files of {name} are not here")
    assert fingerprint(arrays) == spec.fingerprint
    scaled = arrays.train_images.astype(np.float64) / 255
    assert spec.mean == pytest.approx(scaled.mean(axis=(0, 2, 3)), abs=1e-9)
    assert spec.std == pytest.approx(scaled.std(axis=(0, 2, 3)), abs=1e-9)


def test_channel_statistics_agree_with_numpy_on_colour() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 5, 7), dtype=np.uint8)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((images / 255).mean(axis=(0, 2, 3)))
    assert std == pytest.approx((images / 255).std(axis=(0, 2, 3)))


def test_fashion_mini_is_small_and_carries_its_notice() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) < 3.5e6
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in (EMBEDDED / "LICENSE").read_text()


def test_fashion_mini_loads_fast() -> None:
    load("fashion-mini")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        load("fashion-mini")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.15


@needs_full
def test_fashion_mini_is_rebuilt_bit_for_bit_from_the_full_set(tmp_path: Path) -> None:
    build(FULL, tmp_path)
    for name in IDX_FILES:
        rebuilt, shipped = tmp_path / f"{name}.gz", EMBEDDED / f"{name}.gz"
        assert gzip.decompress(rebuilt.read_bytes()) == gzip.decompress(shipped.read_bytes())
        if "ng" not in zlib.ZLIB_RUNTIME_VERSION:
            assert rebuilt.read_bytes() == shipped.read_bytes()


@needs_full
def test_every_image_of_fashion_mini_is_in_the_full_set_under_the_same_class() -> None:
    full, small = load("fashion-mnist", FULL), load("fashion-mini")
    for whole, part in ((full.train, small.train), (full.test, small.test)):
        known = dict(zip(map(_digest, whole.images), whole.target.tolist(), strict=True))
        assert [known[_digest(image)] for image in part.images] == part.target.tolist()


def test_the_choice_takes_the_smallest_hashes_of_each_class() -> None:
    images = np.arange(40, dtype=np.uint8)[:, None, None]
    target = np.arange(40) % 2
    chosen = choose(images, target, per_class=3)
    for c in (0, 1):
        digests = sorted((hashlib.sha256(bytes([i])).hexdigest(), i) for i in range(40) if i % 2 == c)
        assert {i for i in chosen.tolist() if i % 2 == c} == {i for _, i in digests[:3]}


@needs_full
def test_the_full_set_loads_from_debians_folder_within_two_seconds() -> None:
    start = time.perf_counter()
    dataset = load("fashion-mnist")
    assert time.perf_counter() - start < 2
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)


@pytest.mark.parametrize("name", IDX_FILES)
@pytest.mark.parametrize("harm", ["flip", "flip_packed", "truncate", "empty", "other"])
def test_every_harm_to_every_file_is_found_and_the_file_named(mini: Path, name: str, harm: str) -> None:
    packed = mini / f"{name}.gz"
    payload = bytearray(gzip.decompress(packed.read_bytes()))
    bad = packed
    if harm == "flip":  # a valid gzip of a payload with one bit changed: only the digest can tell
        payload[-7] ^= 1
        packed.write_bytes(gzip.compress(payload))
    elif harm == "flip_packed":
        content = bytearray(packed.read_bytes())
        content[len(content) // 2] ^= 1
        packed.write_bytes(content)
    elif harm == "truncate":  # unpacked, which has no checksum of its own
        packed.unlink()
        bad = mini / name
        bad.write_bytes(payload[:-100])
    elif harm == "empty":
        packed.write_bytes(b"")
    else:
        other = next(f for f in IDX_FILES if f != name and ("images" in f) == ("images" in name))
        shutil.copy(EMBEDDED / f"{other}.gz", packed)
    with pytest.raises(ValueError, match=str(bad)) as error:
        load("fashion-mini")
    assert "reinstall" in str(error.value)


def test_swapped_targets_are_found(mini: Path) -> None:
    path = mini / f"{IDX_FILES[1]}.gz"
    target = read_idx(path).copy()
    first, other = 0, int(np.flatnonzero(target != target[0])[0])
    target[[first, other]] = target[[other, first]]
    write_idx(path, target)
    with pytest.raises(ValueError, match="sha256"):
        load("fashion-mini")


def test_an_unknown_name_gets_the_nearest_match() -> None:
    with pytest.raises(ValueError, match="unknown dataset 'fashion-mni'; did you mean 'fashion-mini'"):
        load("fashion-mni")


@pytest.mark.parametrize("name", list(DATASETS))
@pytest.mark.parametrize("kind", ["empty", "missing", "file"])
def test_an_empty_or_missing_folder_is_refused_for_every_dataset(name: str, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    if kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("x")
    with pytest.raises(FileNotFoundError, match="named") as error:
        load(name, folder)
    assert "fashion-mini" in str(error.value)


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if not spec.embedded])
def test_a_dataset_that_is_nowhere_fails_at_once_with_its_files_and_three_remedies(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("lossbench.data.search.DEBIAN", tmp_path / "nothing")
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError) as error:
        load(name)
    assert time.perf_counter() - start < 1
    message = str(error.value)
    assert sum(f"\n  {k}. " in message for k in range(1, 9)) >= 3
    assert all(file in message for file in DATASETS[name].files)


@needs_full
def test_the_folder_named_comes_before_the_environment_and_that_before_debians(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = DATASETS["fashion-mnist"]
    assert find_dataset(spec) == FULL
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "fashion-mnist").symlink_to(FULL)
    monkeypatch.setenv("LOSSBENCH_DATA", str(tmp_path / "env"))
    assert find_dataset(spec) == tmp_path / "env" / "fashion-mnist"
    (tmp_path / "named").symlink_to(FULL)
    assert find_dataset(spec, tmp_path / "named") == tmp_path / "named"


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSBENCH_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    monkeypatch.delenv("LOSSBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    if sys.platform == "linux":
        assert cache_folder() == Path("/xdg/lossbench")


def test_idx_files_agree_with_torchvisions_reader(tmp_path: Path) -> None:
    from torchvision.datasets.mnist import read_image_file

    array = np.random.default_rng(0).integers(0, 256, (5, 6, 7), dtype=np.uint8)
    write_idx(tmp_path / "images-idx3-ubyte", array)
    assert np.array_equal(read_image_file(str(tmp_path / "images-idx3-ubyte")), array)
    assert np.array_equal(read_idx(tmp_path / "images-idx3-ubyte"), array)


def test_a_split_refuses_other_types() -> None:
    with pytest.raises(ValueError, match="uint8"):
        Split(torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="int64"):
        Split(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


def test_the_four_shapes_are_told_apart_by_nearest_mean() -> None:
    dataset = load("shapes")
    train, test = (split.images.flatten(1).float() for split in (dataset.train, dataset.test))
    means = torch.stack([train[dataset.train.target == c].mean(0) for c in range(4)])
    accuracy = (torch.cdist(test, means).argmin(1) == dataset.test.target).float().mean()
    assert 0.4 < accuracy < 1  # far above chance (0.25), yet not solved by a linear rule


def test_naming_the_datasets_does_not_import_torch() -> None:
    code = "import lossbench, sys; lossbench.DATASETS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _digest(image: torch.Tensor) -> bytes:
    return hashlib.sha256(image.numpy().tobytes()).digest()
