"""A made-up study on disk, in the form that real runs have, so that analysis is tested without training."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import typer.main
from PIL import Image

from lossbench import DATASETS, LOSSES, MODELS, PROBABILITIES, registry
from lossbench.cli import app, main
from lossbench.config import RunConfig
from lossbench.data import AUGMENTATIONS
from lossbench.data.dataset import Arrays, DatasetSpec
from lossbench.data.readers import IDX_FILES, write_idx
from lossbench.records.record import Record, seal
from lossbench.registry import VARIABLE
from lossbench.stats.metrics import METRICS, score
from lossbench.training.loop import OPTIMIZERS

# What costs time in each of thousands of calls and changes nothing that a test can see: no test pulls the plug, and a
# command line is the same each time it is built.

os.fsync = lambda handle: None
typer.main.get_command = cache(typer.main.get_command)


# The files that take longest, the longest first: with `--no-loadscope-reorder` the workers of `make unit` begin with
# them, so that none is left alone with one of them at the end.

SLOWEST = (
    *("test_ray", "test_notebooks", "test_studies", "test_docs", "test_browser", "test_training", "test_notebook_runs"),
    *("test_report", "test_explorer", "test_models", "test_challenge", "test_losses", "test_ensemble", "test_tuned"),
    *("test_report_records", "test_survival", "test_records", "test_own", "test_data", "test_demo", "test_claims"),
    *("test_wheel", "test_template", "test_pilot"),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker of pytest-xdist alone: whoever calls pytest by hand has the order of the names."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: SLOWEST.index(item.path.stem) if item.path.stem in SLOWEST else len(SLOWEST))


def parse_command(words: list[str]) -> dict[str, object]:
    """The parameters of a command line of lossbench, with nothing executed. Fails for an option that is not there.

    The command is asked as `lossbench` asks it, below its group: a command keeps the help options of the first context
    that it is given, and one without a group would take `-h` from every later test.
    """
    assert words[0] == "lossbench"
    group = typer.main.get_command(app)
    with group.make_context("lossbench", words[1:]) as parent:
        name, command, rest = group.resolve_command(parent, words[1:])
        return {"command": name, **command.make_context(name, rest, parent=parent).params}


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command in this process, because each new one would load torch again; its output is `tmp_path / "out"`."""
    monkeypatch.setenv("LOSSBENCH_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["lossbench", *map(str, words)])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Done(int(str(code or 0)), *capsys.readouterr())

    return call


# A loss in a file of the user's own, which leaves no trace in other tests.

SOURCE = '''
from typing import Annotated

from lossbench.losses import above, of_target, over_target, register


@register(shown=("scale",), soft_target="by_class")
def scaled(log_probs, target, *, scale: Annotated[float, above(0)] = 2.0):
    r"""Cross-entropy times a number.

    .. math:: L = -s \\log p_t

    Range: [0, inf).
    Gradient: that of cross_entropy times s.
    At p -> 0: as cross_entropy.
    At p -> 1: as cross_entropy.
    Equals: cross_entropy at scale 1.
    Source: none.
    Peers: none.
    """
    return over_target(-scale * of_target(log_probs, target), target)
'''


@contextmanager
def without_trace() -> Iterator[None]:
    """Nothing of the files that are loaded in the block, or of what is registered in it, is known after it."""
    tables: list[registry.Registry[Any]] = [LOSSES, PROBABILITIES, MODELS, DATASETS, AUGMENTATIONS, OPTIMIZERS, METRICS]
    kept = [(table, dict(table), dict(table.extended)) for table in tables]
    modules = dict(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "")
        patch.setattr(registry, "_loaded", {})
        patch.setattr(sys, "meta_path", list(sys.meta_path))
        yield
    for table, before, extended in kept:
        table.clear()
        table.update(before)
        table.extended = extended
    registry._forget()
    for name in set(sys.modules) - set(modules):
        if isinstance(getattr(sys.modules[name], "__loader__", None), registry._TextLoader):
            del sys.modules[name]


@pytest.fixture
def leave_no_trace() -> Iterator[None]:
    """Nothing of these files is known to other tests."""
    with without_trace():
        yield


@pytest.fixture
def own_losses(leave_no_trace: None, tmp_path: Path) -> Path:
    """A file that registers `scaled`."""
    path = tmp_path / "my_losses.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the process engine go on from this process, which has loaded torch already."""
    from killing import quick_workers

    quick_workers(monkeypatch)


KILLS = """
import os, signal
from pathlib import Path
from lossbench.losses import register

@register
def kills_once(log_probs, target, epoch):
    mark = Path(MARK)
    if epoch == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return -log_probs.gather(1, target[:, None]).squeeze(1)
"""


@pytest.fixture
def kills_once(leave_no_trace: None, tmp_path: Path) -> Path:
    """A loss of this name kills the process of its first run in epoch 3; then this file is there."""
    path, mark = tmp_path / "kills_once.py", tmp_path / "killed"
    path.write_text(KILLS.replace("MARK", repr(str(mark))), encoding="utf-8")
    registry.extend(path)
    return mark


# Small stand-ins for every dataset, in their publishers' formats; conftest.py makes the fixtures known.

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


def write_archive(spec: DatasetSpec, folder: Path) -> Arrays:
    """The class folders of `write_class_folders` in the archive, or archives, that the row names."""
    images = folder.parent / "images"
    arrays = write_class_folders(spec, images)
    for name in spec.files:
        with tarfile.open(folder / name, f"w:{'xz' if name.endswith('xz') else ''}") as archive:
            archive.add(images, "")
    return arrays


def write_omniglot(spec: DatasetSpec, folder: Path) -> Arrays:
    """Three drawings of each character, in two archives that share the Greek ones."""
    images, target = _random(3 * spec.num_classes, spec)
    for name, first, last in zip(spec.files, ("Balinese", "Greek"), ("Greek", "Tagalog"), strict=True):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for k, (image, index) in enumerate(zip(images, target, strict=True)):
                character = spec.class_names[index]
                if first <= character.partition("/")[0] <= last:
                    drawing = f"{character}/{index:04}_{1 + k // spec.num_classes:02}.png"
                    buffer = io.BytesIO()
                    Image.fromarray(image[0]).save(buffer, "PNG")
                    archive.writestr(f"{Path(name).stem}/{drawing}", buffer.getvalue())
    return Arrays(images, target, images[:0], target[:0])


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
    "cifar-100-lossless": write_archive,
    "svhn": write_svhn_files,
    "flowers": write_class_folders,
    "ham10000": write_ham_files,
    "flowers-4064": write_archive,
    "ham10000-5984": write_archive,
    "omniglot-small": write_omniglot,
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


CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
THESIS = (
    ("cross_entropy", {}),
    ("kl_divergence", {}),
    ("js_divergence", {}),
    ("focal", {"gamma": 0.5}),
    ("focal", {"gamma": 2.0}),
)
SHIFTS = {"js_divergence": -0.07, "focal": -0.004}


def write_run(
    output: Path, config: RunConfig, status: str = "finished", images: int = 500, all_scores: bool = False
) -> Record:
    """Write one invented record; the twins cross-entropy and KL get the same numbers under the same seed.

    `all_scores` adds those on embeddings, trees and classes, with the log-probabilities as embeddings.
    """
    twin = config.loss.replace("kl_divergence", "cross_entropy")
    name = f"{twin}{dict(config.loss_params)}{config.probability}{config.seed}{config.dataset}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    target = np.arange(images, dtype=np.int64) % len(CLASSES)
    wanted = 0.86 + SHIFTS.get(config.loss, 0.0) + 0.006 * rng.normal()
    logits = rng.normal(size=(images, len(CLASSES)))
    right = rng.random(images) < wanted
    logits[np.arange(images), np.where(right, target, (target + 2) % len(CLASSES))] += 6
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    epochs = np.arange(1, config.epochs + 1)
    noise = 0.01 * rng.normal() + 0.003 * rng.normal(size=len(epochs))
    curve = wanted - 0.35 * np.exp(-epochs / 2) + noise
    rates = config.lr * (1 + np.cos(np.pi * epochs / config.epochs)) / 2
    history = [
        {"epoch": int(e), "lr": float(r), "train_loss": float(2 - c), "train_accuracy": float(c) + 0.01,
         "val_loss": float(2 - c), "val_nll": float(2 - c), "val_accuracy": float(c)}
        for e, r, c in zip(epochs, rates, curve, strict=True)
    ]  # fmt: skip
    finished = status == "finished"
    scores = {
        "best_epoch": int(curve.argmax()) + 1,
        "test_accuracy": float((log_probs.argmax(1) == target).mean()),
        "test_nll": float(-log_probs[np.arange(images), target].mean()),
        "val_accuracy": float(curve.max()),
    }
    if all_scores:
        found = score(target, log_probs, log_probs, np.eye(len(CLASSES)), CLASSES)
        scores |= {f"test_{name}": value for name, value in found.items()}
    result = {
        "run_id": config.run_id,
        "label": config.label,
        "loss_params": config.full_loss_params,
        "probability_params": config.full_probability_params,
        "status": status,
        "epochs": config.epochs,
        "epochs_done": config.epochs if finished else 2,
        **(scores if finished else dict.fromkeys(scores)),
        "seconds": 12.5,
        "epoch_seconds": [12.5 / config.epochs] * config.epochs,
        "train_images": 4500,
        "test_images": images,
        "num_parameters": 20_000,
        "dataset_fingerprint": "ab" * 32,
        "class_names": list(CLASSES),
        "events": {},
        "device": "cpu",
        "threads": 1,
        "peak_memory_mb": 600.0,
        "commit": "0123456789ab",
        "versions": {"lossbench": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.6"},
    }
    record = Record.of(config, output)
    record.write_config(config)
    arrays = (target, log_probs.astype(np.float32)) if finished else ()
    record.write(result, history if finished else history[:2], *arrays)
    return record


def change_result(path: Path, **values: object) -> None:
    """Give a `result.json` other values and the seal that belongs to them."""
    path.write_text(json.dumps(seal({**json.loads(path.read_text()), **values}, {})))


@pytest.fixture
def study_folder(tmp_path):
    """Write a study of invented runs; `study_folder(losses=..., probabilities=..., seeds=...)` is its folder."""

    def write(losses=THESIS, probabilities=("softmax", "taylor_softmax"), seeds=(0, 1, 2), diverged=(), **fields):
        for loss, params in losses:
            for probability in probabilities:
                for seed in seeds:
                    config = RunConfig(
                        loss=loss, loss_params=params, probability=probability, seed=seed,
                        **{"epochs": 8, **fields},
                    )  # fmt: skip
                    broken = (loss, probability, seed) in diverged
                    write_run(tmp_path, config, "diverged" if broken else "finished")
        return tmp_path

    return write


# Counts the files of records that a piece of code opens.

WATCHING: list[list[str]] = []


def _watch(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and WATCHING and "/runs/" in (path := str(args[0]).replace("\\", "/")):
        WATCHING[-1].append(path)


sys.addaudithook(_watch)  # cannot be taken away again; outside the block below it does nothing


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Gives a list that fills with the paths of the files under `runs/` that are opened in the block."""
    WATCHING.append([])
    try:
        yield WATCHING[-1]
    finally:
        WATCHING.pop()
