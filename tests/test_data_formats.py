"""Every format that is read, each on files made here, and the real ones where they are."""

from __future__ import annotations

import os
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from miniatures import MINIATURES

from lossbench.class_trees import CIFAR_100
from lossbench.data import DATASETS, load
from lossbench.data.class_folders import place_images
from lossbench.data.dataset import Arrays
from lossbench.data.importing import guess_name, import_dataset

SHARED = Path(os.environ.get("LOSSBENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
pytestmark = pytest.mark.usefixtures("own_cache")
OWN_SPLIT = ("kmnist-10k", "ham10000")


def test_every_dataset_that_needs_files_has_a_miniature() -> None:
    assert set(MINIATURES) == {name for name, spec in DATASETS.items() if not spec.embedded}


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
