"""Imports: folders and archives of the user's own, hostile ones, killed ones, commands, downloads."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import png
from PIL import Image
from typer.testing import CliRunner

from lossbench.data import DATASETS, load
from lossbench.data.class_folders import split_by_digest
from lossbench.data.commands import app
from lossbench.data.dataset import Arrays
from lossbench.data.download import download_dataset
from lossbench.data.idx import IDX_FILES
from lossbench.data.images import decode
from lossbench.data.importing import import_dataset
from lossbench.data.search import cache_path
from lossbench.data.tensors import read_about, read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("own_cache")


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
