"""Every format that can be read or imported, each on files made here, and the real ones where they are."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from lossbench.class_trees import CIFAR_100
from lossbench.data import DATASETS, load
from lossbench.data.class_folders import place_images, split_by_digest
from lossbench.data.commands import app
from lossbench.data.dataset import Arrays, DatasetSpec
from lossbench.data.download import download_dataset
from lossbench.data.idx import IDX_FILES, write_idx
from lossbench.data.images import decode
from lossbench.data.importing import guess_name, import_dataset
from lossbench.data.search import cache_path
from lossbench.data.tensors import read_about, read_tensors, write_tensors

SHARED = Path(os.environ.get("LOSSBENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


# --- one miniature for every dataset: writes the publisher's files, returns what a reader must find ---


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
OWN_SPLIT = ("kmnist-10k", "ham10000")


def test_every_dataset_that_needs_files_has_a_miniature() -> None:
    assert set(MINIATURES) == {name for name, spec in DATASETS.items() if not spec.embedded}


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


def _rows(*parts: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, bytes]]:
    return sorted(
        (int(k), image.tobytes()) for images, target in parts for image, k in zip(images, target, strict=True)
    )


@pytest.mark.parametrize("name", [name for name in MINIATURES if name not in OWN_SPLIT])
@pytest.mark.parametrize("packing", ["folder", "zip", "tar.xz", "tar.gz"])
def test_every_miniature_is_imported_whole_from_every_packing(
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
    assert guess_name(folder) == "cifar-10-jpeg"
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


# --- hostile and damaged input ---


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


NASTY = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20).map(
    "../".__add__
) | st.sampled_from(
    ["../../escape", "/etc/escape", "..\\escape", "a/../../escape", "..%2fescape", "CON", "x" * 300, "a\0b", "", "."]
)


@settings(deadline=None, derandomize=True, max_examples=300)
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
        for member in ("../../a/out.png", "/abs/b/out.png", "a/in.png", "b/in.png"):
            info = tarfile.TarInfo(member)
            info.size = len(png(3))
            archive.addfile(info, io.BytesIO(png(3)))
        link = tarfile.TarInfo("a/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    import_dataset(path, "evil")
    after = {file for file in tmp_path.rglob("*") if file.is_file()}
    assert after - before == {cache_path("evil")}


def png(value: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, value).save(buffer, "PNG")
    return buffer.getvalue()


def test_one_flipped_bit_anywhere_in_an_imported_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    images, target = np.zeros((4, 1, 2, 2), np.uint8), np.arange(4) % 2
    write_tensors(path, "x", ("a", "b"), Arrays(images, target, images, target), origin="here", split="none")
    content = path.read_bytes()
    for position in range(0, len(content), 3):
        harmed = bytearray(content)
        harmed[position] ^= 1
        path.write_bytes(harmed)
        with pytest.raises(ValueError, match=r"x\.safetensors"):
            read_tensors(path)
    for length in range(0, len(content), 7):
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


# --- folders of the user's own ---


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    folder = tmp_path / "My pets!"
    for c, value in (("zebra", 10), ("ant", 200)):
        (folder / c).mkdir(parents=True)
        for k in range(10):
            (folder / c / f"{k}.png").write_bytes(png(value + k, (12, 8)))
    return folder


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
    with pytest.warns(UserWarning, match=r"1 damaged images left out.*3\.png"):
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
    monkeypatch.setattr("lossbench.data.class_folders.decode", None)
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
    with pytest.raises(PermissionError, match=r"5,760 bytes .*No space left"):
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


# --- commands and downloads ---


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
    listed = runner.invoke(app, ["list"]).output
    assert all(name in listed for name in DATASETS)
    assert "not here" in listed
    assert "Zalando" not in runner.invoke(app, ["info", "fashion-mini"]).output
    assert "arXiv:1708.07747" in runner.invoke(app, ["info", "fashion-mini"]).output
    imported = runner.invoke(app, ["import", str(pets), "--name", "pets", "--size", "8x12"])
    assert "16 + 4 images of 2 classes" in imported.output
    assert "as expected" in runner.invoke(app, ["verify", "pets"]).output
    assert "pets" in runner.invoke(app, ["list"]).output
    assert isinstance(runner.invoke(app, ["import", str(pets), "--size", "8"]).exception, ValueError)


# --- the real files, where they are ---


@pytest.mark.parametrize(("name", "sizes"), [("mnist", (60_000, 10_000)), ("kmnist-10k", (8_000, 2_000))])
def test_the_real_files_load_with_the_recorded_content(name: str, sizes: tuple[int, int]) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    dataset = load(name, SHARED)
    assert (len(dataset.train), len(dataset.test)) == sizes
    assert dataset.fingerprint == DATASETS[name].fingerprint
