"""Datasets that need no download: content, integrity, search, and the rebuild of what the package ships."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chisquare
from typer.testing import CliRunner

from conftest import MINIATURES, png
from lossbench import RunConfig, archive, run
from lossbench.cli.data import data_app
from lossbench.data import DATASETS, Split, degrade, load
from lossbench.data.augmentation import (
    ADMA_CIFAR10,
    ADMA_CIFAR100,
    ADMA_MNIST,
    AUGMENTATIONS,
    THESIS,
    Drawn,
    Geometry,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    draw,
    jitter_colour,
    warp,
)
from lossbench.data.build_fashion_mini import EMBEDDED, build, choose
from lossbench.data.build_sign_digits import EMBEDDED as SIGN_DIGITS
from lossbench.data.build_sign_digits import build as build_sign_digits
from lossbench.data.build_sign_digits import complete_runs
from lossbench.data.dataset import Arrays, channel_statistics, find_shortages, fingerprint
from lossbench.data.importing import download_dataset, guess_name, import_dataset
from lossbench.data.layout import read_layout
from lossbench.data.loading import (
    DEBIAN,
    cache_folder,
    cache_path,
    find_dataset,
    read_about,
    read_tensors,
    write_tensors,
)
from lossbench.data.readers import (
    IDX_FILES,
    collect,
    decode,
    place_images,
    read_archives,
    read_idx,
    split_by_digest,
    write_idx,
)
from lossbench.data.sampling import (
    apportion,
    epoch_order,
    flip_target,
    long_tail,
    stratified_split,
    stratified_subset,
)
from lossbench.data.trees import CIFAR_100
from lossbench.stats import learned
from lossbench.studies.execute import run_configs
from lossbench.training.run import prepare

FULL = DEBIAN / "fashion-mnist"
SHARED = Path(os.environ.get("LOSSBENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_full = pytest.mark.skipif(not FULL.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
pytestmark = pytest.mark.usefixtures("own_cache")
HERE = sorted(name for name, spec in DATASETS.items() if spec.embedded)


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


@pytest.mark.parametrize(
    "name", [name for name, spec in DATASETS.items() if spec.mean and spec.read is not read_archives]
)
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
        start = time.process_time()
        load("fashion-mini")
        times.append(time.process_time() - start)
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
    start = time.process_time()
    dataset = load("fashion-mnist")
    assert time.process_time() - start < 2
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)


HARMS = ("flip", "flip_packed", "truncate", "empty", "other")


@pytest.mark.parametrize(("name", "harm"), [(IDX_FILES[k % 4], HARMS[k % 5]) for k in range(9)])
def test_every_harm_to_a_file_is_found_and_the_file_named(mini: Path, name: str, harm: str) -> None:
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
def test_an_empty_or_missing_folder_is_refused_for_every_dataset(name: str, tmp_path: Path) -> None:
    (tmp_path / "named empty").mkdir()
    (tmp_path / "named file").write_text("x")
    for kind in ("empty", "missing", "file"):
        with pytest.raises(FileNotFoundError, match="named") as error:
            load(name, tmp_path / f"named {kind}")
        assert "fashion-mini" in str(error.value)


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if not spec.embedded])
def test_a_dataset_that_is_nowhere_fails_at_once_with_its_files_and_three_remedies(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("lossbench.data.loading.DEBIAN", tmp_path / "nothing")
    start = time.process_time()
    with pytest.raises(FileNotFoundError) as error:
        load(name)
    assert time.process_time() - start < 1
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


def _digest(image: torch.Tensor) -> bytes:
    return hashlib.sha256(image.numpy().tobytes()).digest()


# Every format that is read, each on files made here, and the real ones where they are.

OWN_SPLIT = ("kmnist-10k", "ham10000", "omniglot-small")


def test_every_dataset_that_needs_files_has_a_miniature() -> None:
    assert set(MINIATURES) == {name for name, spec in DATASETS.items() if not spec.embedded}


def _rows(*parts: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, bytes]]:
    return sorted(
        (int(k), image.tobytes()) for images, target in parts for image, k in zip(images, target, strict=True)
    )


PACKINGS = ("folder", "zip", "tar.xz", "tar.gz")
PACKED = [name for name in MINIATURES if name not in OWN_SPLIT]


@pytest.mark.parametrize(("name", "packing"), [(name, PACKINGS[place % 4]) for place, name in enumerate(PACKED)])
def test_every_miniature_is_imported_whole_from_a_folder_or_an_archive(
    name: str, packing: str, miniature: Callable[[str], tuple[Path, Arrays]], tmp_path: Path
) -> None:
    folder, expected = miniature(name)
    about = import_dataset(pack(folder, packing, tmp_path), name)
    dataset = load(name)
    for split, images, target in (
        (dataset.train, expected.train_images, expected.train_target),
        (dataset.test, expected.test_images, expected.test_target),
    ):
        assert np.array_equal(split.images.numpy(), images)
        assert split.target.tolist() == target.tolist()
    assert dataset.fingerprint == about.fingerprint
    scaled = expected.train_images / 255
    assert dataset.mean == pytest.approx(scaled.mean(axis=(0, 2, 3)))
    assert dataset.std == pytest.approx(scaled.std(axis=(0, 2, 3)))


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if spec.files and not spec.embedded])
def test_the_publishers_files_are_read_in_place_from_a_folder(
    name: str, miniature: Callable[[str], tuple[Path, Arrays]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = miniature(name)
    if name == "kmnist-10k":
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], train_size=8, test_size=2, test_fraction=0.2))
        with pytest.raises(ValueError, match="kmnist-10k should hold"):  # one image a class cannot be divided
            load(name, folder)
        return
    dataset = load(name, folder)
    if name in OWN_SPLIT:
        sides = [(split.images.numpy(), split.target.numpy()) for split in (dataset.train, dataset.test)]
        assert _rows(*sides) == _rows((expected.train_images, expected.train_target))
        return
    assert np.array_equal(dataset.train.images.numpy(), expected.train_images)
    assert np.array_equal(dataset.test.target.numpy(), expected.test_target)


def pack(folder: Path, packing: str, tmp_path: Path) -> Path:
    if packing == "folder":
        return folder
    path = tmp_path / f"images.{packing}"
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in reversed(files):
                archive.write(file, f"root/{file.relative_to(folder).as_posix()}")
    else:
        with tarfile.open(path, f"w:{packing[4:]}") as archive:
            for file in reversed(files):
                archive.add(file, f"root/{file.relative_to(folder).as_posix()}")
    return path


def test_class_folders_of_cifar_10_are_not_taken_for_the_real_cifar_10(
    miniature: Callable[[str], tuple[Path, Arrays]],
) -> None:
    folder, _ = miniature("cifar-10-jpeg")
    assert guess_name(folder, collect(folder, folder)) == "cifar-10-jpeg"
    assert DATASETS["cifar-10-jpeg"].title == "cifar-10 (jpeg)"
    with pytest.raises(FileNotFoundError, match="cifar-10-jpeg"):
        import_dataset(folder, "cifar-10")


def test_ham10000_is_split_by_lesion_with_every_image_once(
    miniature: Callable[[str], tuple[Path, Arrays]],
) -> None:
    folder, expected = miniature("ham10000")
    import_dataset(folder)  # and is known by its CSV
    dataset = load("ham10000")
    train, test = ((split.images.numpy(), split.target.numpy()) for split in (dataset.train, dataset.test))
    assert _rows(train, test) == _rows((expected.train_images, expected.train_target))
    lesion = {image.tobytes(): k // 2 for k, image in enumerate(expected.train_images)}
    sides = [{lesion[image.tobytes()] for image in images} for images, _ in (train, test)]
    assert not sides[0] & sides[1]
    assert test[1].tolist() == sorted(list(range(7)) * 2)  # 20 % of 6 is 1.2 images, hence one lesion of two


def test_ham10000_says_what_is_missing(miniature: Callable[[str], tuple[Path, Arrays]]) -> None:
    folder, _ = miniature("ham10000")
    min((folder / "HAM10000_images_part_1").iterdir()).unlink()
    with pytest.raises(ValueError, match="1 of 42 images are missing, such as ISIC_0000000"):
        import_dataset(folder, "ham10000")
    csv = folder / "HAM10000_metadata.csv"
    csv.write_text(csv.read_text().replace(",nv,", ",nevus,"))
    with pytest.raises(ValueError, match="nevus"):
        import_dataset(folder, "ham10000")


def test_dogs_and_cats_are_also_known_by_the_start_of_their_file_names() -> None:
    names = ["train/cat.0.jpg", "train/dog.0.jpg", "PetImages/Dog/7.jpg", "test1/1.jpg"]
    places = place_images(names, ("cat", "dog"))
    assert {name: place.class_index for name, place in places.items()} == dict(zip(names, (0, 1, 1), strict=False))


def test_the_coarse_classes_of_cifar_100_are_the_groups_of_its_tree() -> None:
    assert DATASETS["cifar-100-coarse"].class_names == tuple(CIFAR_100["root"])
    members = [name for group in DATASETS["cifar-100-coarse"].class_names for name in CIFAR_100[group]]
    assert sorted(members) == list(DATASETS["cifar-100"].class_names)


class Bomb:
    def __init__(self, call: object, *args: object) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.args


def test_a_cifar_batch_that_carries_code_runs_none_of_it(
    miniature: Callable[[str], tuple[Path, Arrays]], tmp_path: Path
) -> None:
    folder, _ = miniature("cifar-10")
    mark = tmp_path / "ran"
    forms = [
        Bomb(os.system, f"touch {mark}"),
        Bomb(eval, f"open({str(mark)!r}, 'w')"),
        Bomb(exec, f"open({str(mark)!r}, 'w')"),
        Bomb(subprocess.call, ["touch", str(mark)]),
        Bomb(getattr, Bomb(__import__, "os"), "system"),
    ]
    for form in forms:
        (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": form}, protocol=2))
        with pytest.raises(ValueError, match=r"data_batch_1.*no CIFAR file needs"):
            load("cifar-10", folder)
    assert not mark.exists()


@pytest.mark.parametrize("name", [name for name in MINIATURES if DATASETS[name].files])
def test_every_file_cut_short_or_replaced_is_found_and_named(
    name: str, miniature: Callable[[str], tuple[Path, Arrays]]
) -> None:
    folder, _ = miniature(name)
    for file in DATASETS[name].files:
        path = next(folder.glob(f"{file}*"))
        content = path.read_bytes()
        for harm in (content[: len(content) // 2], b"", b"not a dataset"):
            path.write_bytes(harm)
            with pytest.raises(ValueError, match=path.name):
                load(name, folder)
        path.write_bytes(content)


def test_a_file_of_another_dataset_is_recognised(tmp_path: Path) -> None:
    shipped = Path(load.__code__.co_filename).parent / "fashion_mini"
    with pytest.raises(ValueError, match="it is a file of fashion-mini"):
        load("mnist", shipped)


@pytest.mark.parametrize(("name", "sizes"), [("mnist", (60_000, 10_000)), ("kmnist-10k", (8_000, 2_000))])
def test_the_real_files_load_with_the_recorded_content(name: str, sizes: tuple[int, int]) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    dataset = load(name, SHARED)
    assert (len(dataset.train), len(dataset.test)) == sizes
    assert dataset.fingerprint == DATASETS[name].fingerprint


KNOWN = {  # images a class, mean and std of the training images where they are well known: `shared/data/README.md`
    "cifar-100-lossless": (
        [600] * 100,
        (0.50707516, 0.48654887, 0.44091784),
        (0.26733429, 0.25643846, 0.27615047),
    ),
    "flowers-4064": ([742, 1_016, 759, 694, 853], (), ()),
    "ham10000-5984": ([183, 264, 583, 60, 491, 4_323, 80], (), ()),
    "omniglot-small": ([20] * 242, (), ()),
}


def test_every_set_of_archives_has_known_counts() -> None:
    assert set(KNOWN) == {name for name, spec in DATASETS.items() if spec.read is read_archives}


@pytest.mark.parametrize("name", list(KNOWN))
def test_the_real_archives_hold_the_known_images_a_class_and_are_unpacked_once(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    counts, mean, std = KNOWN[name]
    spec = DATASETS[name]
    try:
        find_dataset(spec, SHARED)
    except FileNotFoundError:
        pytest.skip(f"{', '.join(spec.files)} is not in {SHARED}")
    dataset = load(name, SHARED)
    assert (
        f"{spec.train_size:,} + {spec.test_size:,} images of {len(counts)} classes read from" in capfd.readouterr().err
    )
    train, test = (split.target.bincount(minlength=len(counts)).tolist() for split in (dataset.train, dataset.test))
    assert [a + b for a, b in zip(train, test, strict=True)] == counts
    assert spec.tail == (round(max(counts) / min(counts)) if max(counts) > 10 * min(counts) else 1)
    share = len(dataset.test) / sum(counts)
    assert all(abs(b - share * n) < 1 for b, n in zip(test, counts, strict=True))
    assert dataset.mean == pytest.approx(mean or dataset.mean, abs=5e-9)
    assert dataset.std == pytest.approx(std or dataset.std, abs=5e-9)
    start = time.perf_counter()
    again = load(name, SHARED)
    assert time.perf_counter() - start < 10
    assert again.fingerprint == dataset.fingerprint
    assert capfd.readouterr().err == ""


def test_drawings_of_a_number_are_on_one_side_of_their_alphabet(
    miniature: Callable[[str], tuple[Path, Arrays]],
) -> None:
    folder, expected = miniature("omniglot-small")
    dataset = load("omniglot-small", folder)
    classes = DATASETS["omniglot-small"].class_names
    of_image = {image.tobytes(): k // len(classes) for k, image in enumerate(expected.train_images)}
    sides = [
        {
            (classes[k].partition("/")[0], of_image[image.numpy().tobytes()])
            for image, k in zip(split.images, split.target.tolist(), strict=True)
        }
        for split in (dataset.train, dataset.test)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 8  # one of three numbers in each of eight alphabets
    assert dataset.test.target.bincount().tolist() == [1] * 242


def test_only_ten_digits_in_a_row_are_a_run() -> None:
    shown = [*range(10), 0, 1, 2, *range(10), 0, 2]
    runs = complete_runs({100 + 2 * k: digit for k, digit in enumerate(shown)})
    assert runs == [list(range(100, 120, 2)), list(range(126, 146, 2))]


def test_sign_digits_mini_is_rebuilt_pixel_by_pixel_and_carries_its_notice(tmp_path: Path) -> None:
    assert "Apache License" in (SIGN_DIGITS / "LICENSE").read_text(encoding="utf-8")
    assert "**What was changed.**" in (SIGN_DIGITS / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in SIGN_DIGITS.iterdir()) < 2.8e6
    source = SHARED / "sign-digits" / "sign-digits-64px.tar"
    if not source.is_file():
        pytest.skip(f"{source.name} is not in {SHARED}")
    build_sign_digits(source, tmp_path)
    for name in DATASETS["sign-digits-mini"].files:
        rebuilt, shipped = (np.asarray(Image.open(folder / name)) for folder in (tmp_path, SIGN_DIGITS))
        assert np.array_equal(rebuilt, shipped)


@pytest.mark.parametrize("name", ["fashion-mini", "sign-digits-mini"])
def test_no_image_of_the_package_is_on_both_sides(name: str) -> None:
    dataset = load(name)
    train, test = (set(map(_digest, split.images)) for split in (dataset.train, dataset.test))
    assert not train & test


# Layouts of the user's own: what a folder is follows from all of them, or is asked.


def spread(layout: str, count: int = 5) -> list[str]:
    """The names of `count` images in each folder of a layout such as `train/{a,b} test/{a,b}`."""
    folders: list[str] = []
    for word in layout.split():
        before, _, inside = word.partition("{")
        folders += [before + name for name in inside.removesuffix("}").split(",")]
    return [f"{folder}/{k}.png".lstrip("/") for folder in folders for k in range(count)]


READ = {  # layout -> classes, images to train, validate and test, images left out
    "train/{bus,train,tram} test/{bus,train,tram}": ("bus train tram", 15, 0, 15, 0),
    "train/{control,test} test/{control,test}": ("control test", 10, 0, 10, 0),
    "data/train/{val,test} data/val/{val,test}": ("test val", 10, 0, 10, 0),
    "{bus,train,tram}": ("bus train tram", 0, 0, 0, 0),
    "train/{a,b} test/{a,b} val/{a,b}": ("a b", 10, 10, 10, 0),
    "Training/{a,b} Validation/{a,b}": ("a b", 10, 0, 10, 0),
    "a/{train,test} b/{train,test}": ("a b", 10, 0, 10, 0),
    "bus/{train,test} train/{train,test} tram/{train,test}": ("bus train tram", 15, 0, 15, 0),
    "train/{train,test} test/{train,test}": ("test train", 10, 0, 10, 0),
    "a/{train,val,test} b/{train,val,test}": ("a b", 10, 10, 10, 0),
    "archive/training_set/training_set/{cats,dogs} archive/test_set/test_set/{cats,dogs}": ("cats dogs", 10, 0, 10, 0),
    "seg_train/seg_train/{sea,street} seg_test/seg_test/{sea,street}": ("sea street", 10, 0, 10, 0),
    "data/train/{a,b} data/dev/{a,b} data/test/{a,b}": ("a b", 10, 10, 10, 0),
    "Train/{a,b} Valid/{a,b} Test/{a,b}": ("a b", 10, 10, 10, 0),
    "train/{val,dog} validation/{val,dog} test/{val,dog}": ("dog val", 10, 10, 10, 0),
    "train/images/{a,b} test/images/{a,b}": ("a b", 10, 0, 10, 0),
    "train2017/{a,b} val2017/{a,b}": ("a b", 10, 0, 10, 0),
    "train/{a,b}": ("a b", 0, 0, 0, 0),
    "{,a,b}": ("a b", 0, 0, 0, 5),
    "cat/images dog/images": ("cat dog", 0, 0, 0, 0),
    "train/{a,b,} test/{a,b}": ("a b", 10, 0, 10, 5),
}
REFUSED = {  # layout -> what the message says
    "{train,test}": "hold images directly.*--role",
    "{train,test1}": "hold images directly.*--role",
    "train/{a,b} test": "'test' holds images directly.*--role test=out",
    "train/{n01,n02} val": "'val' holds images directly.*--role",
    "{cat,dog,test}": "'test' holds images directly.*test=class",
    "{control,test}": "'test' holds images directly.*test=class",
    "train/{a,b} test/{a,b} holdout/{a,b}": "there is 'holdout'.*--role",
    "train/{a,b} holdout/{a,b}": "there is 'holdout'.*--role",
    "train/{a,b} test/{a,b} testing/{a,b}": "'test', 'testing' are all for test.*--role",
    "test/{a,b} val/{a,b}": "no folder is for train",
    "train/{a,b} test/{a,b,c}": "no train image of the class 'c'",
    "train/{a,b,c} test/{a,b}": "no test image of the class 'c'",
    "train/{a,b} val/a test/{a,b}": "no validation image of the class 'b'.*all three",
    "train/{a,b} val/{a,b} dev/{a,b} test/{a,b}": "'dev', 'val' are all for validation.*--role",
    "train/{a,b} val test/{a,b}": "'val' holds images directly.*--role",
    "train/{a,b} val/a test/{a,b} extra": "'extra'.*--role",
    "animal/{cat,dog} vehicle/{car,bus}": "--class-folder first.*--class-folder last",
    "{a,a/sub,b}": "--class-folder",
    "a/train b/{train,test}": "no test image of the class 'a'",
    "{}": "0 classes",
    "one": "1 classes.*at least two folders",
}
ASKED = {  # layout, roles, which of nested folders -> as in READ
    ("{cat,dog,test}", "test=out", ""): ("cat dog", 0, 0, 0, 5),
    ("{cat,dog,test}", "test=class", ""): ("cat dog test", 0, 0, 0, 0),
    ("train/{a,b} holdout/{a,b}", "holdout=test", ""): ("a b", 10, 0, 10, 0),
    ("train/{a,b} test/{a,b} more/{a,b}", "more=train", ""): ("a b", 20, 0, 10, 0),
    ("train/{a,b} test/{a,b} more/{a,b}", "more=out", ""): ("a b", 10, 0, 10, 10),
    ("train/{a,b} test", "test=out", ""): ("a b", 0, 0, 0, 5),
    ("train/{a,b} val/{a,b} test/{a,b}", "val=out", ""): ("a b", 10, 0, 10, 10),
    ("train/{a,b} val/{a,b} test/{a,b}", "val=train", ""): ("a b", 20, 0, 10, 0),
    ("train/{a,b} tune/{a,b} test/{a,b}", "tune=validation", ""): ("a b", 10, 10, 10, 0),
    ("train/{a,b} val/a test/{a,b}", "val=out", ""): ("a b", 10, 0, 10, 5),
    ("train/{a,b,c} test/{a,b}", "train/c=out", ""): ("a b", 10, 0, 10, 5),
    ("{train,test}", "train=class test=class", ""): ("test train", 0, 0, 0, 0),
    ("animal/{cat,dog} vehicle/{car,bus}", "", "first"): ("animal vehicle", 0, 0, 0, 0),
    ("animal/{cat,dog} vehicle/{car,bus}", "", "last"): ("bus car cat dog", 0, 0, 0, 0),
}


def summary(names: list[str], roles: str = "", class_folder: str = "") -> tuple[str, int, int, int, int]:
    layout = read_layout(names, dict(role.split("=") for role in roles.split()), class_folder)
    splits = [place.split for place in layout.places.values()]
    assert len(layout.places) + layout.left_out.total() == len(names)
    train, validation, test = (splits.count(side) for side in ("train", "validation", "test"))
    return " ".join(layout.class_names), train, validation, test, layout.left_out.total()


@pytest.mark.parametrize("layout", list(READ))
def test_a_layout_with_one_reading_is_read_so(layout: str) -> None:
    assert summary(spread(layout)) == READ[layout]


@pytest.mark.parametrize("layout", list(REFUSED))
def test_a_layout_with_two_readings_or_none_is_refused_with_what_decides(layout: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[layout]):
        read_layout(spread(layout))


@pytest.mark.parametrize(("layout", "roles", "class_folder"), list(ASKED))
def test_the_options_decide(layout: str, roles: str, class_folder: str) -> None:
    assert summary(spread(layout), roles, class_folder) == ASKED[layout, roles, class_folder]


def test_an_option_for_no_folder_or_no_role_is_refused() -> None:
    for roles, message in (({"x": "out"}, "no such folder.*'a', 'b'"), ({"a": "trian"}, "no such role; choose from")):
        with pytest.raises(ValueError, match=message):
            read_layout(spread("{a,b}"), roles)
    with pytest.raises(ValueError, match="choose from first, last"):
        read_layout(spread("{a,b}"), class_folder="middle")


SPLIT_WORDS = (("train", "test"), ("Train", "Test"), ("training", "testing"), ("train", "val"), ("TRAIN", "valid"))
WORDS = [
    "train",
    "test",
    "val",
    "validation",
    "Test",
    "set",
    "images",
    "data",
    "猫",
    "狗",
    "кот",
    "γάτα",
    "قط",
    "ア",
    "😀",
]
WORDS += [
    "a",
    "A",
    "C",
    "C++",
    "C#",
    "+1",
    "-1",
    "0.5",
    "05",
    "5",
    "a b",
    "a_b",
    "cat",
    "cats",
    "Cat",
    "café",
    "cafe\u0301",
]
WORDS += ["v1.0", "t-shirt", "tshirt", "!", "?", "test_tube", "train station", "none", "out", "class", "x" * 60]


@pytest.mark.parametrize("block", range(8))
def test_whatever_the_classes_are_called_a_layout_keeps_them_and_every_image(block: int) -> None:
    """800 layouts: a split outside or inside the classes or none, wrappers, a third side, stray files, any names."""
    rng = np.random.default_rng(block)
    for _ in range(100):
        classes = sorted(rng.choice(WORDS, size=rng.integers(2, 7), replace=False).tolist())
        sides = list(SPLIT_WORDS[rng.integers(len(SPLIT_WORDS))])
        kind = rng.choice(["split", "class", "none"])
        if kind == "split" and "est" in sides[1] and rng.random() < 0.4:
            sides.append(str(rng.choice(["val", "Valid", "validation", "dev"])))
        if kind == "class":
            classes.append("p")
        if kind == "none":  # a folder of images that is called like a split could be one
            classes = [name for name in classes if name not in WORDS[:5]] + ["p", "q"]
        folders = {
            "split": [(side, c, f"{side}/{c}") for side in sides for c in classes],
            "class": [(side, c, f"{c}/{side}") for side in sides for c in classes],
            "none": [("", c, c) for c in classes],
        }[kind]
        wrapper = rng.choice(["", "data/", "archive/my set/"])
        truth = {
            f"{wrapper}{folder}/{k}.jpg": (c, side) for side, c, folder in folders for k in range(rng.integers(1, 4))
        }
        strays = [f"{wrapper}logo.png"] * int(rng.integers(2))
        layout = read_layout(rng.permutation([*truth, *strays]).tolist())
        got = {name: (layout.class_names[place.class_index], place.split) for name, place in layout.places.items()}
        role = dict(zip(sides, ("train", "test", "validation"), strict=False)) | {"": ""}
        expected = {name: (c, role[side]) for name, (c, side) in truth.items()}
        assert got == expected, (kind, sides, classes)
        assert layout.class_names == tuple(sorted(classes))
        assert layout.left_out.total() == len(truth) + len(strays) - len(expected)


@pytest.mark.parametrize("block", range(4))
def test_no_layout_is_read_with_an_image_lost_or_a_class_on_one_side(block: int) -> None:
    """800 layouts with folders dropped, added and renamed: refused with advice, or read whole, both sides complete."""
    rng = np.random.default_rng(1000 + block)
    words = ["train", "test", "val", "a", "b", "c", "images", "extra"]
    read = 0
    for _ in range(200):
        folders = sorted({name.rpartition("/")[0] for name in spread(list(READ)[rng.integers(len(READ))])})
        for _ in range(rng.integers(0, 3)):
            parts = folders.pop(rng.integers(len(folders))).split("/")
            if rng.random() < 0.7:
                parts[rng.integers(len(parts))] = str(rng.choice(words))
                folders.append("/".join(parts))
            if rng.random() < 0.3 or not folders:
                folders.append("/".join(rng.choice(words, size=rng.integers(1, 4))))
        names = [f"{folder}/{k}.jpg".lstrip("/") for folder in sorted(set(folders)) for k in range(2)]
        try:
            layout = read_layout(names)
        except ValueError as error:
            assert any(word in str(error) for word in ("--role", "--class-folder", "at least two folders"))  # noqa: PT017
            continue
        read += 1
        assert len(layout.places) + layout.left_out.total() == len(names)
        sides = {place.split for place in layout.places.values()}
        assert sides in ({""}, {"train", "test"}, {"train", "validation", "test"})
        assert set(layout.places.values()) == {(k, side) for k in range(len(layout.class_names)) for side in sides}
        for name, place in layout.places.items():
            assert layout.class_names[place.class_index] in name.split("/")[:-1]
    assert read > 10


# Imports: folders and archives of the user's own, hostile ones, killed ones, commands, downloads.

NASTY = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20).map(
    "../".__add__
) | st.sampled_from(
    ["../../escape", "/etc/escape", "..\\escape", "a/../../escape", "..%2fescape", "CON", "x" * 300, "a\0b", "", "."]
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(name=NASTY | st.text(max_size=30))
def test_no_name_leads_out_of_the_cache(name: str) -> None:
    try:
        path = cache_path(name)
    except ValueError as error:
        assert "letters, digits" in str(error)  # noqa: PT017
    else:
        assert path.parent == Path(os.environ["LOSSBENCH_CACHE"])


def test_archives_with_paths_and_links_that_lead_out_write_nothing_outside_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        inside = [f"{c}/{k}.png" for c in "ab" for k in range(5)]
        for value, member in enumerate(["../../a/out.png", "/abs/b/out.png", *inside]):
            info = tarfile.TarInfo(member)
            info.size = len(png(value))
            archive.addfile(info, io.BytesIO(png(value)))
        link = tarfile.TarInfo("a/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    about = import_dataset(path, "evil")
    assert about.left_out == ("1 .png (a link or no regular file)", "2 .png (a path that leads out of the archive)")
    after = {file for file in tmp_path.rglob("*") if file.is_file()}
    assert after - before == {cache_path("evil")}


def test_one_flipped_bit_anywhere_in_an_imported_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    images, target = np.zeros((4, 1, 2, 2), np.uint8), np.arange(4) % 2
    images[0, 0, 0, 0] = 9
    spec = replace(DATASETS["shapes"], name="x", class_names=("a", "b"))
    write_tensors(path, spec, Arrays(images, target, images, target), origin="here")
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        harmed = bytearray(content)
        harmed[position] ^= 1
        path.write_bytes(harmed)
        with pytest.raises(ValueError, match=r"x\.safetensors"):
            read_tensors(path)
    for length in range(0, len(content), 31):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"x\.safetensors"):
            read_tensors(path)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_import_leaves_the_cache_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    for c in "ab":
        (folder / c).mkdir(parents=True)
        for k in range(150):
            (folder / c / f"{k}.png").write_bytes(png(k % 256, (256, 256)))
    code = (
        f"from lossbench.data.importing import import_dataset as f; print('go', flush=True); f({str(folder)!r}, 'many')"
    )
    for delay in (0.1, 0.4):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if cache_path("many").exists():  # it was faster than the kill: then it must be whole
            read_tensors(cache_path("many"))
    import_dataset(folder, "many")
    assert read_about(cache_path("many")).train_size == 240


def test_what_a_later_version_imported_is_read(pets: Path) -> None:
    from safetensors.numpy import load_file, save_file

    about = import_dataset(pets)
    path = cache_path("My-pets")
    text = json.dumps({**asdict(about), "of_a_later_version": [1, 2]})
    save_file(load_file(path), path, metadata={"about": text, "check": hashlib.sha256(text.encode()).hexdigest()})
    assert read_about(path) == about
    assert load("My-pets").fingerprint == about.fingerprint


def test_a_folder_of_class_folders_becomes_a_dataset(pets: Path) -> None:
    about = import_dataset(pets)
    assert about.name == "My-pets"
    dataset = load("My-pets")
    assert dataset.class_names == ("ant", "zebra")
    assert dataset.image_shape == (3, 8, 12)
    assert dataset.test.target.bincount().tolist() == [2, 2]
    assert dataset.train.target.bincount().tolist() == [8, 8]
    values = torch.cat([split.images[split.target == 0].flatten(1)[:, 0] for split in (dataset.train, dataset.test)])
    assert sorted(values.tolist()) == list(range(200, 210))


def write_images(folder: Path, names: list[str]) -> Path:
    for value, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(value % 256))
    return folder


SCRIPTS = (
    "猫 狗 鸟",
    "γάτα σκύλος",
    "кот пёс",
    "قط كلب",
    "ア イ",
    "😀 😢",
    "A a B b",
    "C C++ C#",
    "+1 -1 0",
    "0.5 05 5",
)
SCRIPTS += ("v1.0 v10", "a_b ab", "cat cats Cat", "t-shirt tshirt", "café cafe\u0301", "! ?", "train tram", "nul con")


@pytest.mark.parametrize(("classes", "packing"), [(c, PACKINGS[place % 4]) for place, c in enumerate(SCRIPTS)])
def test_class_names_are_used_as_they_are(classes: str, packing: str, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", spread("{" + ",".join(classes.split()) + "}"))
    about = import_dataset(pack(folder, packing, tmp_path), "mine")
    assert load("mine").class_names == about.class_names == tuple(sorted(classes.split()))
    assert (about.train_counts, about.test_counts) == ((4,) * len(about.class_names), (1,) * len(about.class_names))


def test_an_import_says_what_it_read_how_and_what_not(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "my set", spread("train/{a,b} val/{a,b} test/{a,b}"))
    (folder / "train" / "a" / "Thumbs.db").write_bytes(b"x")
    (folder / "train" / ".DS_Store").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "train" / "b" / "link.png").symlink_to(folder / "train" / "a" / "0.png")
    output = CliRunner().invoke(data_app, ["import", str(folder)]).stdout
    details = [
        "classes   a 5 + 5 + 5, b 5 + 5 + 5 (train + validation + test)",
        "split     by the folders test (test), train (train), val (validation)",
    ]
    assert output.startswith("imported my-set: 10 + 10 + 10 images of 2 classes; ")
    assert output.splitlines()[1:3] == details
    info = CliRunner().invoke(data_app, ["info", "my-set"]).output
    assert "3x8x8, 10 to train, 10 to validate, 10 to test" in info
    assert set(details) < set(info.splitlines())
    assert "10 train, 10 test, 10 validation images, " in CliRunner().invoke(data_app, ["verify", "my-set"]).output
    left_out = output.partition("left out  ")[2].splitlines()[0].split("; ", 4)
    assert len(left_out) == 4
    assert {"1 .db (no image that can be read)", "1 .png (a link or no regular file)", "1 no suffix (hidden)"} < set(
        left_out
    )
    assert "replaces" not in output
    assert "replaced  an earlier import named my-set" in CliRunner().invoke(data_app, ["import", str(folder)]).output


@pytest.mark.parametrize("classes", ["cats,dogs", "cat,dog", "daisy,dandelion,rose,sunflower,tulip"])
def test_own_images_never_take_the_name_of_a_published_dataset(classes: str, tmp_path: Path) -> None:
    names = spread("training_set/training_set/{%s} test_set/test_set/{%s}" % (classes, classes))  # noqa: UP031
    folder = write_images(tmp_path / "flowers", names)
    about = import_dataset(folder)
    assert about.name == "my-flowers"
    assert about.image_shape == (3, 8, 8)
    published = "dogs-vs-cats" if "dog" in classes else "flowers"
    with pytest.raises(ValueError, match=f"where {published} has .*--name"):
        import_dataset(folder, published)
    assert not cache_path(published).exists()


def test_folders_named_in_other_scripts_get_names_of_their_own(tmp_path: Path) -> None:
    first, second = (import_dataset(write_images(tmp_path / name, spread("{a,b}"))).name for name in ("猫", "狗"))
    assert first != second


@pytest.mark.parametrize("count", [1, 2])
def test_classes_too_small_to_split_are_named_before_any_image_is_read(count: int, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "few", [*spread("{a,b}"), *spread("c", count)])
    with pytest.raises(ValueError, match=r"one side has no image of 'c'.*--test-fraction"):
        import_dataset(folder)


def broken_images() -> dict[str, bytes]:
    jpeg, exif, tiff = io.BytesIO(), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("L", (8, 8)).save(jpeg, "JPEG", exif=exif)
    Image.new("L", (8, 8)).save(tiff, "TIFF")
    header = png(1)[:16] + (30_000).to_bytes(4, "big") * 2 + png(1)[24:29]
    bomb = header + zlib.crc32(header[12:]).to_bytes(4, "big") + png(1)[33:]
    return {
        "page.jpg": b"<html>404</html>",
        "empty.png": b"",
        "short.png": png(1)[:30],
        "bomb.png": bomb,
        "exif.jpg": jpeg.getvalue().replace(b"Exif\0\0MM\0*\0\0\0\x08\0\x01", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", 1),
        "tags.tiff": tiff.getvalue().replace(b"\x00\x01\x03\x00", b"\x00\x01\x02\x00", 1),
    }


@pytest.mark.parametrize("size", [None, (8, 8)])
def test_whatever_breaks_in_an_image_costs_that_image_only(size: tuple[int, int] | None, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "some", spread("{a,b}"))
    for name, content in broken_images().items():
        (folder / "a" / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"a/\w+\.\w+: not a readable image \(.*--skip-damaged"):
        import_dataset(folder, size=size)
    with pytest.warns(UserWarning, match="damaged images left out") as caught:
        about = import_dataset(folder, size=size, skip_damaged=True)
    (text,) = (str(warning.message) for warning in caught if "damaged images" in str(warning.message))
    assert "BytesIO" not in text
    assert "--skip-damaged" not in text
    assert all(f"a/{name}: " in text for name in ("page.jpg", "empty.png", "short.png", "bomb.png"))
    assert about.train_size + about.test_size + text.count("\n") == 16


@pytest.mark.parametrize("error", [TypeError, struct.error, RecursionError, MemoryError, zlib.error])
def test_whatever_a_decoder_raises_names_the_file(
    error: type[Exception], pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(image: object) -> None:
        raise error("odd")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    with pytest.raises(ValueError, match=r"ant/0\.png: not a readable image \(odd\)"):
        import_dataset(pets, "pets")


def test_a_constant_channel_is_moved_and_not_divided_by_zero(tmp_path: Path) -> None:
    folder = tmp_path / "blue"
    for k, name in enumerate(spread("{a,b}")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (0, 7, 20 * k)).save(folder / name)
    assert "channels  [0, 1] of 3" in import_dataset(folder, "blue").describe()
    assert load("blue").std[:2] == (1.0, 1.0)
    for file in folder.rglob("*.png"):
        Image.new("RGB", (8, 8), (0, 7, 9)).save(file)
    with pytest.raises(ValueError, match="all training images are the same"):
        import_dataset(folder, "blue")


def test_validation_images_of_a_users_own_choose_the_epoch_and_nothing_else(tmp_path: Path) -> None:
    """15 to train, 10 to validate and 30 to test of each class, beside the same without those to validate."""
    names = {side: spread(f"{side}/{{a,b}}", count) for side, count in (("train", 15), ("val", 10), ("test", 30))}
    three = write_images(tmp_path / "three", [*names["train"], *names["val"], *names["test"]])
    import_dataset(three, "three")
    import_dataset(three, "two", roles={"val": "out"})
    whole, two = load("three"), load("two")
    expected = [decode((three / name).read_bytes(), (3, 8, 8), crop=True, name=name) for name in sorted(names["val"])]
    assert whole.validation is not None
    assert np.array_equal(whole.validation.images.numpy(), np.stack(expected))
    assert two.validation is None
    assert whole.fingerprint != two.fingerprint
    for mine, other in ((whole.train, two.train), (whole.test, two.test)):
        assert torch.equal(mine.images, other.images)

    config = RunConfig(dataset="three", epochs=1)
    for seed in (0, 1):  # the same images whatever the seed, and all of the others are trained on
        splits = prepare(replace(config, seed=seed), whole, torch.device("cpu"))
        assert torch.equal(splits.scored.images, whole.validation.images)
        assert torch.equal(splits.train.images, whole.train.images)
        assert torch.equal(splits.test.images, whole.test.images)
    tested = prepare(replace(config, selection="best_test"), whole, torch.device("cpu"))
    assert (len(tested.train), tested.prefix) == (30, "test")
    noisy = prepare(replace(config, label_noise=0.5), whole, torch.device("cpu"))
    assert torch.equal(noisy.scored.target, whole.validation.target)

    record = run(replace(config, train_size=30), tmp_path / "out")
    assert (record.result["train_images"], record.result["validation_images"]) == (30, 20)
    assert record.result["val_accuracy"] == record.history["val_accuracy"].max()
    with pytest.raises(ValueError, match="train_size must lie between 1 and 27"):
        run(RunConfig(dataset="two", epochs=1, train_size=30), tmp_path / "out")
    assert "validation_images" not in run(RunConfig(dataset="two", epochs=1), tmp_path / "out").result
    runs = archive.load_runs(tmp_path / "out")
    assert dict(zip(runs["dataset"], learned._validation_images(runs), strict=True)) == {"three": 20.0, "two": 3.0}


def test_ten_folds_are_of_the_test_images_only(tmp_path: Path) -> None:
    names = [*spread("train/{a,b}", 10), *spread("val/{a,b}", 10), *spread("test/{a,b}", 25)]
    import_dataset(write_images(tmp_path / "three", names), "three")
    run(RunConfig(dataset="three", epochs=1), tmp_path / "out")
    folds = archive.load_tables(tmp_path / "out").folds
    assert len(folds) == 10
    assert (folds["accuracy"] * 5 % 1 < 1e-9).all()  # five of the 50 test images in each


def test_damaged_images_are_left_out_and_the_rest_is_never_dealt_anew(tmp_path: Path) -> None:
    for side in ("test", "val"):
        folder = write_images(tmp_path / side, spread("train/{a,b} val/{a,b} test/{a,b}"))
        for file in (folder / side).rglob("*.png"):
            file.write_bytes(b"no image")
        with (
            pytest.warns(UserWarning, match="10 damaged"),
            pytest.raises(ValueError, match=r"no (test|validation) image of the classes 'a', 'b'"),
        ):
            import_dataset(folder, "damaged", size=(8, 8), skip_damaged=True)


@pytest.mark.parametrize("engine", ["", "process", "ensemble"])
def test_too_few_images_to_score_are_refused_before_the_first_step(engine: str, tmp_path: Path) -> None:
    def train(**fields: Any) -> None:
        config = RunConfig(dataset="few", epochs=1, **fields)
        if engine:
            run_configs([config], tmp_path / "out", engine=engine, show_progress=False)
        else:
            run(config, tmp_path / "out")

    folder = write_images(tmp_path / "few", spread("{a,b}", 10))
    short = "4 test images; recall@8 needs at least 9: add images, or import them again with a larger --test-fraction"
    assert f"too few   {short}" in import_dataset(folder, "few").describe()
    with pytest.raises(ValueError, match=f"few has {short}"):
        train()
    short = "4 training images, of which 0.1 are none to validate on"
    assert f"too few   {short}" in import_dataset(folder, "few", test_fraction=0.8).describe()
    with pytest.raises(ValueError, match=f"few has {short}"):
        train()
    with pytest.raises(ValueError, match="model 'googlenet' needs images of at least"):
        train(selection="best_test", model="googlenet")
    assert not list((tmp_path / "out").rglob("history.csv"))
    with pytest.warns(UserWarning, match="few has 16 test images, each of which is 6.2 percentage points"):
        train(selection="best_test")
    assert archive.load_runs(tmp_path / "out")["status"].tolist() == ["finished"]


@pytest.mark.parametrize(("test", "said"), [(8, "recall@8"), (9, "11.1 percentage points"), (29, "3.4"), (30, "")])
def test_an_import_says_what_its_test_images_are_too_few_for(test: int, said: str) -> None:
    short = find_shortages(100, test)
    assert [said in message for message in short.values()] == [True] * bool(said)


def test_a_test_image_that_is_a_training_image_too_is_counted(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "copies", spread("train/{a,b} val/{a,b} test/{a,b}"))
    copies = {"test/a/0.png": "train/a/0.png", "test/a/1.png": "train/b/1.png", "test/b/0.png": "val/b/0.png"}
    for copy, source in copies.items():  # of the same pixels, in another file
        with Image.open(folder / source) as image:
            image.save(folder / copy, compress_level=0)
    text = import_dataset(folder, "copies").describe()
    assert "copies    3 of 10 test images are training or validation images too, pixel for pixel, 1 of them" in text
    assert "3 of 10 test images" in CliRunner().invoke(data_app, ["info", "copies"]).output
    text = import_dataset(folder, "copies", roles={"val": "out"}).describe()
    assert "copies    2 of 10 test images are training images too" in text
    assert "copies" not in import_dataset(write_images(tmp_path / "own", spread("{a,b}")), "own").describe()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_what_is_transparent_is_white_and_not_the_colour_hidden_below(mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 2, 4))
    buffer = io.BytesIO()
    if mode == "P":
        image = image.quantize()
    image.convert(mode).save(buffer, "TIFF" if mode == "PA" else "PNG")
    pixels = decode(buffer.getvalue(), (1, 4, 4), crop=False, name="disc")
    assert pixels[0, 0].tolist() == [0, 0, 255, 255]


def test_two_imports_of_one_name_at_once_both_end_whole(pets: Path) -> None:
    code = f"from lossbench.data.importing import import_dataset as f; f({str(pets)!r}, 'pets')"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0] * 2
    read_tensors(cache_path("pets"))
    assert [path.name for path in cache_path("pets").parent.iterdir()] == ["pets.safetensors"]


def test_of_two_files_of_one_name_in_an_archive_the_later_is_read_and_the_other_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for value, name in enumerate(["a/0.png", *spread("{a,b}")]):
            info = tarfile.TarInfo(name)
            info.size = len(png(value))
            archive.addfile(info, io.BytesIO(png(value)))
    about = import_dataset(tmp_path / "twice.tar")
    assert (about.train_size + about.test_size, about.left_out) == (10, ("1 .png (a second file of one name)",))
    splits = (load("twice").train, load("twice").test)
    assert sorted(int(image[0, 0, 0]) for split in splits for image in split.images) == list(range(1, 11))


@pytest.mark.parametrize("others", [(), ("readme.txt",), ("about/readme.txt",)])
def test_a_zip_with_backslashes_is_read(others: tuple[str, ...], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        for value, name in enumerate(spread("{a,b}")):
            info = zipfile.ZipInfo("x")
            info.filename = "data\\" + name.replace("/", "\\")
            archive.writestr(info, png(value))
        for name in others:
            archive.writestr(name, "")
    assert import_dataset(tmp_path / "old.zip").class_names == ("a", "b")


WITHOUT_CLASSES = {  # file -> what the message says of it
    "train.zip": r"1 \.zip .*Archives inside are not unpacked",
    "set/train.tar": r"1 \.tar .*Archives inside are not unpacked",
    "a/1.heic": r"1 \.heic .*Save such images as PNG",
    "pixels.npz": r"1 \.npz .*Arrays and tables are not read",
    "labels.csv": r"1 \.csv .*Arrays and tables are not read",
    "train-images-idx3-ubyte.gz": r"1 \.gz \(named like a file of a published dataset\).*lossbench data info NAME",
}


@pytest.mark.parametrize("packing", ["folder", "zip"])
@pytest.mark.parametrize("name", list(WITHOUT_CLASSES))
def test_where_no_classes_are_found_what_is_there_is_named_with_what_to_do(
    name: str, packing: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine"
    (path / name).parent.mkdir(parents=True)
    (path / name).write_bytes(b"content")
    if packing == "zip":
        path = Path(shutil.make_archive(str(path), "zip", path))
    with pytest.raises(ValueError, match=WITHOUT_CLASSES[name]):
        import_dataset(path)


def test_links_in_place_of_images_are_named(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    for folder in pets.iterdir():
        (tmp_path / "links" / folder.name).symlink_to(folder)
    with pytest.raises(ValueError, match="Links are not followed: copy what they lead to"):
        import_dataset(tmp_path / "links")


@pytest.mark.parametrize("size", [None, (8, 8)])
def test_images_of_which_none_can_be_read_are_no_data_set(size: tuple[int, int] | None, tmp_path: Path) -> None:
    for name in spread("{a,b}"):
        (tmp_path / "broken" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "broken" / name).write_bytes(b"<html>")
    warned = pytest.warns(UserWarning, match="10 damaged") if size else nullcontext()
    with warned, pytest.raises(ValueError, match="broken: none of the 10 images can be read"):
        import_dataset(tmp_path / "broken", skip_damaged=True, size=size)


def test_images_of_different_sizes_need_a_size(pets: Path) -> None:
    (pets / "ant" / "big.png").write_bytes(png(1, (30, 20)))
    with pytest.raises(ValueError, match=r"2 sizes .*--size"):
        import_dataset(pets, "pets")
    import_dataset(pets, "pets", size=(6, 6), grey=True)
    assert load("pets").image_shape == (1, 6, 6)


def test_a_damaged_image_is_named_or_left_out_with_a_count(pets: Path) -> None:
    (pets / "ant" / "3.png").write_bytes(png(1, (12, 8))[:-30])
    with pytest.raises(ValueError, match=r"3\.png.*--skip-damaged"):
        import_dataset(pets, "pets", size=(8, 12))
    with pytest.warns(UserWarning, match=r"(?s)1 damaged images left out.*3\.png"):
        about = import_dataset(pets, "pets", size=(8, 12), skip_damaged=True)
    assert about.train_size + about.test_size == 19


def test_a_folder_without_two_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one" / "a").mkdir(parents=True)
    (tmp_path / "one" / "a" / "1.png").write_bytes(png(1))
    with pytest.raises(ValueError, match="at least two folders"):
        import_dataset(tmp_path / "one")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        import_dataset(tmp_path / "nowhere")


def test_a_cache_that_cannot_be_written_is_refused_before_any_image_is_read(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("lossbench.data.readers.decode", None)
    with pytest.raises(PermissionError, match="LOSSBENCH_CACHE"):
        import_dataset(pets, "pets")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_import_and_says_how_much_room_is_needed(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.numpy

    import_dataset(pets, "pets")
    before = cache_path("pets").read_bytes()

    def full(tensors: object, path: Path, metadata: object) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(PermissionError, match=r"5,920 bytes .*No space left"):
        import_dataset(pets, "pets")
    assert cache_path("pets").read_bytes() == before
    assert [path.name for path in cache_path("pets").parent.iterdir()] == ["pets.safetensors"]


def test_an_image_keeps_its_proportions_only_when_cropped() -> None:
    wide = Image.new("RGB", (40, 20), "white")
    wide.paste("red", (0, 0, 6, 20))  # the left edge, which a square crop cuts off
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    stretched = decode(buffer.getvalue(), (3, 10, 10), crop=False, name="wide")
    cropped = decode(buffer.getvalue(), (3, 10, 10), crop=True, name="wide")
    assert stretched[:, 5, 0].tolist() == [255, 0, 0]
    assert cropped[:, 5, 0].tolist() == [255, 255, 255]


def test_sixteen_bit_images_are_refused_rather_than_turned_white() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(buffer, "PNG")
    with pytest.raises(ValueError, match="8 bits"):
        decode(buffer.getvalue(), (1, 4, 4), crop=False, name="deep")


@settings(deadline=None, derandomize=True, max_examples=60)
@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=5), fraction=st.floats(0.05, 0.9))
def test_the_split_by_digest_follows_the_images_and_not_their_order(sizes: list[int], fraction: float) -> None:
    target = np.repeat(np.arange(len(sizes)), sizes)
    digests = [f"{hash((k, 7)) & 0xFFFFFFFFFFFF:012x}{k:04}" for k in range(len(target))]
    is_test = split_by_digest(target, digests, fraction)
    assert np.bincount(target[is_test], minlength=len(sizes)).tolist() == [round(fraction * n) for n in sizes]
    order = np.random.default_rng(1).permutation(len(target))
    again = split_by_digest(target[order], [digests[k] for k in order], fraction)
    assert np.array_equal(again, is_test[order])


def test_a_download_is_checked_and_imported(
    miniature: Callable[[str], tuple[Path, Arrays]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = miniature("mnist")
    for file in list(folder.iterdir()):
        if file.suffix != ".gz":
            (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    urls = tuple((folder / f"{name}.gz").as_uri() for name in IDX_FILES)
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], urls=urls))
    download_dataset("mnist")
    assert np.array_equal(load("mnist").train.images.numpy(), expected.train_images)


def test_a_download_without_a_network_says_what_else_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    urls = ((tmp_path / "nothing.gz").as_uri(),)
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], urls=urls))
    with pytest.raises(ConnectionError, match=r"(?s)data import.*--data.*fashion-mini"):
        download_dataset("mnist")
    with pytest.raises(ValueError, match=r"kaggle.*data import"):
        download_dataset("flowers")
    with pytest.raises(ValueError, match="did you mean 'mnist'"):
        download_dataset("mnst")


def test_the_commands_list_explain_import_and_verify(pets: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(data_app, ["list"]).output
    assert all(name in listed for name in DATASETS)
    assert "not here" in listed
    assert "Zalando" not in runner.invoke(data_app, ["info", "fashion-mini"]).output
    assert "arXiv:1708.07747" in runner.invoke(data_app, ["info", "fashion-mini"]).output
    imported = runner.invoke(data_app, ["import", str(pets), "--name", "pets", "--size", "8x12"])
    assert "16 + 4 images of 2 classes" in imported.output
    assert "as expected" in runner.invoke(data_app, ["verify", "pets"]).output
    assert "pets" in runner.invoke(data_app, ["list"]).output
    for option in (["--size", "8"], ["--role", "ant"], ["--role", "ant=spider"], ["--class-folder", "middle"]):
        assert isinstance(runner.invoke(data_app, ["import", str(pets), *option]).exception, ValueError)
    again = runner.invoke(
        data_app, ["import", str(pets), "--name", "pets", "--role", "ant=out", "--role", "zebra=class"]
    )
    assert "1 classes" in str(again.exception)


# Splits by class and seed.


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    fraction=st.floats(0.02, 0.98),
    seed=st.integers(0, 2**31),
)
def test_a_stratified_split_parts_every_class_in_proportion(sizes: list[int], fraction: float, seed: int) -> None:
    target = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    target = target[torch.randperm(len(target), generator=torch.Generator().manual_seed(1))]
    rest, held = stratified_split(target, fraction, seed)
    assert sorted(torch.cat([rest, held]).tolist()) == list(range(len(target)))
    assert len(held) == round(fraction * len(target))
    for c, size in enumerate(sizes):
        assert abs(int((target[held] == c).sum()) - fraction * size) < 1.5


def test_a_balanced_epoch_shows_each_class_alike_and_a_shuffled_one_each_image_once() -> None:
    target = torch.repeat_interleave(torch.arange(3), torch.tensor([9_000, 900, 100]))
    balanced, shuffled = (
        epoch_order(target, sampler, torch.Generator().manual_seed(0)) for sampler in ("balanced", "shuffled")
    )
    assert torch.equal(shuffled.sort().values, torch.arange(len(target)))
    assert not torch.equal(shuffled, torch.arange(len(target)))
    assert len(balanced) == len(target)
    assert chisquare(torch.bincount(target[balanced])).pvalue > 0.01
    assert len(balanced[target[balanced] == 2].unique()) == 100, "all images of the rare class"


def test_a_split_follows_its_seed_and_leaves_the_global_random_state_alone() -> None:
    target = torch.arange(100) % 5
    before = torch.get_rng_state()
    first, again, other = (stratified_split(target, 0.2, seed)[1] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        stratified_split(torch.arange(10), fraction, 0)


def test_apportion_gives_the_seats_of_the_textbook_example() -> None:
    # Hamilton's method, the worked example of Wikipedia's "Quota method": 10 seats
    votes = torch.tensor([47_000, 16_000, 15_900, 12_000, 6_000, 3_100])
    assert apportion(votes, 10).tolist() == [5, 2, 1, 1, 1, 0]


TARGET = torch.arange(1000) % 10


def test_a_subset_keeps_the_share_of_every_class() -> None:
    chosen = stratified_subset(TARGET, 250, seed=1)
    assert torch.bincount(TARGET[chosen]).tolist() == [25] * 10
    with pytest.raises(ValueError, match="train_size"):
        stratified_subset(TARGET, 1001, seed=1)


def test_a_long_tail_falls_from_the_first_to_the_last_class_by_the_factor() -> None:
    counts = torch.bincount(TARGET[long_tail(TARGET, 10.0, seed=1)]).tolist()
    assert counts == [round(100 * 10 ** (-c / 9)) for c in range(10)]
    assert (counts[0], counts[-1]) == (100, 10)
    with pytest.raises(ValueError, match="imbalance"):
        long_tail(TARGET, 0.5, seed=1)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_label_noise_changes_the_share_asked_for_in_every_class(kind: str) -> None:
    noisy = flip_target(TARGET, 0.3, seed=1, kind=kind)
    wrong = noisy != TARGET
    assert torch.bincount(TARGET[wrong]).tolist() == [30] * 10
    assert set(noisy.tolist()) <= set(range(10))
    shifts = set(((noisy - TARGET) % 10)[wrong].tolist())
    assert shifts == ({1} if kind == "asymmetric" else set(range(1, 10)))


def test_label_noise_refuses_bad_rates_and_kinds() -> None:
    with pytest.raises(ValueError, match=r"label_noise.*1\.0"):
        flip_target(TARGET, 1.0, seed=1)
    with pytest.raises(ValueError, match="did you mean 'symmetric'"):
        flip_target(TARGET, 0.1, seed=1, kind="symetric")


@dataclass
class Config:
    train_size: int | None = None
    label_noise: float = 0.0
    imbalance: float = 1.0
    noise_kind: str = "symmetric"
    seed: int = 0


def test_degrade_does_what_a_config_asks_and_nothing_by_default() -> None:
    split = load("shapes").train
    assert degrade(split, Config()) is split
    bad = degrade(split, Config(train_size=80, label_noise=0.25, imbalance=2.0))
    assert len(bad) == 80
    again = degrade(split, Config(train_size=80, label_noise=0.25, imbalance=2.0))
    assert torch.equal(bad.images, again.images)
    assert torch.equal(bad.target, again.target)
    clean = degrade(split, Config(train_size=80, imbalance=2.0))
    assert torch.equal(bad.images, clean.images)
    assert int((bad.target != clean.target).sum()) == 20


# Batched augmentations: the same as torchvision's one by one, in the ranges of the papers, and by seed.

NEAREST, BILINEAR = TF.InterpolationMode.NEAREST, TF.InterpolationMode.BILINEAR


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=seeded(0))


def parameters(count: int = 1, **values: float) -> Drawn:
    neutral = Drawn(*(torch.full((count,), float(v)) for v in (1, 1, 0, 1, 0, 0, 0)))
    return neutral._replace(**{key: torch.full((count,), float(value)) for key, value in values.items()})


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (4, 3, 32, 32), (2, 3, 75, 100), (1, 1, 16, 16)])
def test_every_augmentation_keeps_shape_type_and_range(name: str, shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    before = images.clone()
    changed = AUGMENTATIONS[name](images, seeded(1))
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert 0 <= changed.min() <= changed.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(changed, images) == (name == "none")


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_the_same_seed_gives_the_same_images_and_no_other_random_state_is_touched(name: str) -> None:
    images = random_images(16, 3, 32, 32)
    state = torch.get_rng_state()
    first, again, other = (AUGMENTATIONS[name](images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none")
    assert torch.equal(torch.get_rng_state(), state)


def test_images_of_a_batch_get_parameters_of_their_own() -> None:
    images = random_images(1, 3, 32, 32).expand(8, -1, -1, -1)
    changed = AUGMENTATIONS["adma_cifar10"](images, seeded(0))
    assert len({image.numpy().tobytes() for image in changed}) == 8


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    angle=st.floats(-90, 90),
    scale=st.floats(0.8, 1.2),
    shift=st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
    shape=st.sampled_from([(28, 28), (32, 32), (20, 32)]),
)
def test_turn_scale_and_shift_agree_with_torchvision(
    angle: float, scale: float, shift: tuple[int, int], shape: tuple[int, int]
) -> None:
    height, width = shape
    images = random_images(1, 3, height, width)
    drawn = parameters(angle=math.radians(angle), scale=scale, shift_x=shift[0] / width, shift_y=shift[1] / height)
    for mode, theirs in (("bilinear", BILINEAR), ("nearest", NEAREST)):
        ours = warp(images, drawn, Geometry(mode=mode, padding="zeros"))
        expected = TF.affine(images, angle, list(shift), scale, [0.0, 0.0], theirs)
        # A pixel halfway between two may be taken from either, so a few may differ when the nearest is taken.
        assert (torch.isclose(ours, expected, atol=1e-3).float().mean()) > (0.99 if mode == "nearest" else 0.999)


def test_a_shear_agrees_with_torchvision() -> None:
    images = random_images(1, 1, 31, 31)
    ours = warp(images, parameters(shear=0.2), Geometry(padding="zeros"))
    degrees = math.degrees(math.atan(0.2))
    both = [TF.affine(images, 0.0, [0, 0], 1.0, [sign * degrees, 0.0], BILINEAR) for sign in (1, -1)]
    assert any(torch.allclose(ours, expected, atol=1e-4) for expected in both)  # its sign has no meaning here


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_flips_are_exact_mirrors_and_no_change_is_none(mode: str) -> None:
    images = random_images(2, 3, 32, 28)
    geometry = Geometry(mode=mode, padding="zeros")
    assert torch.allclose(warp(images, parameters(2, flip_x=-1), geometry), images.flip(3), atol=1e-5)
    assert torch.allclose(warp(images, parameters(2, flip_y=-1), geometry), images.flip(2), atol=1e-5)
    assert torch.allclose(warp(images, parameters(2), geometry), images, atol=1e-5)


def test_an_image_is_flipped_before_it_is_moved_as_in_paper_000() -> None:
    images = random_images(1, 1, 32, 32)
    geometry = Geometry(mode="nearest", padding="zeros")
    both = warp(images, parameters(flip_x=-1, shift_x=0.25), geometry)
    assert torch.equal(both[..., 8:], images.flip(3)[..., :24])


PAPERS = {  # geometry, horizontal flips, vertical flips, share moved, degrees, scale, shear, shift
    "thesis": (THESIS, 0.5, 0.5, 0.9, 90, (0.8, 1.2), 0, 0),
    "adma_mnist": (ADMA_MNIST, 0, 0, 1, 30, (1, 1), 0, 0.2),
    "adma_cifar10": (ADMA_CIFAR10, 0.5, 0, 1, 0, (1, 1), 0.2, 0.2),
    "adma_cifar100": (ADMA_CIFAR100, 0.5, 0, 1, 15, (1, 1), 0, 0.1),
}


def test_a_crop_moves_whole_pixels_of_the_mirrored_image_and_flips_half_of_them() -> None:
    images = torch.rand(400, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    changed = AUGMENTATIONS["crop_flip"](images, torch.Generator().manual_seed(0))
    mirrored = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    places, flips = set(), 0
    for before, after in zip(mirrored, changed.numpy(), strict=True):
        crops = {(y, x): before[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)}
        both = {
            (*place, flipped): crop[..., ::-1] if flipped else crop
            for place, crop in crops.items()
            for flipped in (0, 1)
        }
        [(y, x, flipped)] = [place for place, crop in both.items() if np.array_equal(crop, after)]
        places.add((y, x))
        flips += flipped
    assert len(places) == 25
    assert 160 < flips < 240


def test_every_augmentation_of_a_paper_has_its_ranges_checked() -> None:
    assert set(PAPERS) == set(AUGMENTATIONS) - {"none", "crop_flip"}


@pytest.mark.parametrize("name", list(PAPERS))
def test_parameters_follow_the_papers_rates_and_ranges(name: str) -> None:
    geometry, flip_x, flip_y, moved, degrees, (low, high), shear, shift = PAPERS[name]
    count = 100_000
    drawn = draw(geometry, count, seeded(0))
    tolerance = 4 * 0.5 / math.sqrt(count)  # four standard errors of a share
    assert (drawn.flip_x < 0).float().mean() == pytest.approx(flip_x, abs=tolerance)
    assert (drawn.flip_y < 0).float().mean() == pytest.approx(flip_y, abs=tolerance)
    ranges = [
        (drawn.angle.rad2deg(), -degrees, degrees),
        (drawn.scale, low, high),
        (drawn.shear, -shear, shear),
        (drawn.shift_x, -shift, shift),
        (drawn.shift_y, -shift, shift),
    ]
    for values, lowest, highest in ranges:
        neutral = (lowest + highest) / 2
        if lowest == highest:
            assert torch.equal(values, torch.full_like(values, neutral))
            continue
        assert lowest <= values.min() <= values.max() <= highest
        moving = values[values != neutral]
        assert len(moving) / count == pytest.approx(moved, abs=tolerance)
        counts = torch.histc(moving.double(), 10, lowest, highest) / len(moving)
        assert counts.tolist() == pytest.approx([0.1] * 10, abs=2 * tolerance)
    if moved < 1:
        together = (drawn.angle != 0) == (drawn.scale != 1)
        assert together.float().mean() > 0.999


COLOURS = [
    (adjust_brightness, TF.adjust_brightness, (0.8, 1.0, 1.2)),
    (adjust_contrast, TF.adjust_contrast, (0.8, 1.0, 1.2)),
    (adjust_saturation, TF.adjust_saturation, (0.8, 1.0, 1.2)),
    (adjust_hue, TF.adjust_hue, (-0.2, 0.0, 0.2)),
]


@pytest.mark.parametrize(("ours", "theirs", "amounts"), COLOURS, ids=lambda value: getattr(value, "__name__", ""))
def test_colour_changes_agree_with_torchvision_image_by_image(
    ours: Callable[..., torch.Tensor], theirs: Callable[..., torch.Tensor], amounts: tuple[float, ...]
) -> None:
    images = random_images(len(amounts), 3, 9, 7)
    images[:, :, 0] = images[:, :1, 0]  # some grey pixels, which have no hue
    changed = ours(images, torch.tensor(amounts).view(-1, 1, 1, 1))
    for image, amount, result in zip(images, amounts, changed, strict=True):
        assert torch.allclose(result, theirs(image, amount), atol=1e-5)


def test_jitter_changes_four_images_in_ten_within_its_range() -> None:
    images = torch.full((20_000, 1, 2, 2), 0.5)
    changed = jitter_colour(images, seeded(0), probability=0.4, strength=0.2)[:, 0, 0, 0]
    share = (changed != 0.5).float().mean()
    assert share == pytest.approx(0.4, abs=4 * 0.5 / math.sqrt(20_000))
    assert 0.4 <= changed.min() < 0.41  # on even grey only brightness, a factor from 0.8 to 1.2, has an effect
    assert 0.59 < changed.max() <= 0.6


def test_jitter_leaves_grey_images_without_hue() -> None:
    images = random_images(50, 1, 8, 8).expand(-1, 3, -1, -1)
    changed = jitter_colour(images, seeded(0), probability=1.0, strength=0.2)
    assert torch.allclose(changed[:, :1].expand_as(changed), changed, atol=2e-4)


def test_augmented_shapes_still_look_like_their_class() -> None:
    train = load("shapes").train
    images = train.images.float() / 255
    changed = AUGMENTATIONS["thesis"](images, seeded(0))
    area = (changed > 0.2).float().sum((1, 2, 3)) / (images > 0.2).float().sum((1, 2, 3))
    assert area.quantile(0.05) > 0.5
    assert area.quantile(0.95) < 1.6
