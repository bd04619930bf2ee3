"""Read and write idx, the format of the MNIST family: a big-endian header, then the bytes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import pickle
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lossbench.data.dataset import Arrays, Bytes, DatasetSpec, Indices, check_digest, damaged

# The files inside a folder, a zip or a tar, read in memory: nothing is ever extracted to a path.

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
MAX_BYTES = 256 * 2**20  # of one file: an archive may claim any size


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES)


def iterate_files(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each regular file in `path` whose name ends in one of `suffixes`.

    Names are relative, with forward slashes. Links, hidden files and `__MACOSX` are left out.
    Raises ValueError naming the archive when it is damaged, FileNotFoundError when there is no such path.
    """
    if path.is_dir():
        for name in _folder_names(path, suffixes):
            yield name, (path / name).read_bytes()
    elif not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; name a folder or an archive of images")
    elif zipfile.is_zipfile(path):
        yield from _iterate_zip(path, suffixes)
    else:
        yield from _iterate_tar(path, suffixes)


def list_files(path: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The names that `iterate_files` would yield, sorted."""
    if path.is_dir():
        return _folder_names(path, suffixes)
    if path.exists() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return sorted(info.filename for info in archive.infolist() if _wanted(info.filename, suffixes))
    if path.is_file():
        names = _tar_names(path, path.stat().st_mtime_ns)
        return sorted(name for name in names if _wanted(name, suffixes))
    raise FileNotFoundError(f"{str(path)!r} does not exist; name a folder or an archive of images")


def _folder_names(path: Path, suffixes: tuple[str, ...]) -> list[str]:
    files = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    names = (file.relative_to(path).as_posix() for file in files)
    return sorted(name for name in names if _wanted(name, suffixes))


def _iterate_zip(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir() and _wanted(info.filename, suffixes):
                    _check_size(path, info.filename, info.file_size)
                    yield info.filename, archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: a password
        raise damaged(path, f"the zip does not unpack ({error})") from error


def _iterate_tar(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isreg() and _wanted(member.name, suffixes):
                    _check_size(path, member.name, member.size)
                    content = archive.extractfile(member)
                    assert content is not None  # a regular file always has content
                    yield member.name, content.read()
    except (tarfile.TarError, LZMAError, zlib.error, EOFError, OSError) as error:
        raise damaged(path, f"it does not unpack as zip or tar ({error})") from error


@lru_cache(maxsize=1)  # one import asks three times, and a packed tar has no index: each time costs seconds
def _tar_names(path: Path, changed: int) -> tuple[str, ...]:
    try:
        with tarfile.open(path, "r|*") as archive:
            return tuple(member.name for member in archive if member.isreg())
    except (tarfile.TarError, LZMAError, zlib.error, EOFError, OSError) as error:
        raise damaged(path, f"it does not unpack as zip or tar ({error})") from error


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {name!r} claims {size:,} bytes; at most {MAX_BYTES:,} are read for one file")


def _wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    if not name.lower().endswith(suffixes):
        return False
    folders_and_file = name.split("/")
    return not any((p[:1] == "." and p not in (".", "..")) or p == "__MACOSX" for p in folders_and_file)


# From the bytes of one image file to a uint8 array of the wanted shape.

Pixels = npt.NDArray[np.uint8]
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # eight bits a channel


def decode(content: bytes, image_shape: tuple[int, int, int], *, crop: bool, name: str) -> Pixels:
    """Decode `content` and bring it to `image_shape` (C, H, W).

    Args:
        crop: keep the proportions and cut the middle out, instead of stretching.
        name: of the file, for errors.
    Returns: (C, H, W) uint8, grey for one channel, RGB for three.
    Raises ValueError naming the file when it is no image, is cut short or has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    channels, height, width = image_shape
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.mode not in _MODES:
                raise ValueError(f"its mode is {opened.mode}, only 8 bits a channel can be read")
            image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: not a readable image ({error}); remove it or use --skip-damaged") from error
    if image.size != (width, height):
        bilinear = Image.Resampling.BILINEAR
        fit = ImageOps.fit(image, (width, height), bilinear) if crop else image.resize((width, height), bilinear)
        image = fit
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def image_size(content: bytes, name: str) -> tuple[int, int]:
    """(height, width) of an image, from its header alone where the format has one."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.height, image.width
    except OSError as error:
        raise ValueError(f"{name}: not a readable image ({error})") from error


# Read images that lie in one folder a class, in a folder or an archive.

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "val": "test"}
SPLITS |= {"valid": "test", "validation": "test"}


class Place(NamedTuple):
    """Where one image belongs; split is "" where the folders do not say."""

    class_index: int
    split: str


class Loaded(NamedTuple):
    """Decoded images in the order of their names, the digest of each file, and which could be read."""

    images: Bytes
    digests: list[str]
    readable: npt.NDArray[np.bool_]


def read_class_folders(spec: DatasetSpec, path: Path, *, skip_damaged: bool = False) -> Arrays:
    """Every image below `path`, in the order of their names.

    The class is the folder an image lies in (`rose/1.jpg`), or the start of its name (`cat.1.jpg`). Folders
    `train` and `test` above the classes give the split; without them the rule of `split_by_digest` does.
    Raises ValueError when no image can be placed, a class is missing or a file cannot be decoded.
    """
    names = list_files(path, IMAGE_SUFFIXES)
    places = place_images(names, spec.class_names)
    _check_classes(spec, path, names, places)
    loaded = decode_all(spec, path, sorted(places), skip_damaged=skip_damaged)
    kept = [places[name] for name, readable in zip(sorted(places), loaded.readable, strict=True) if readable]
    target = np.array([place.class_index for place in kept], dtype=np.int64)
    if {place.split for place in kept} == {"train", "test"}:
        is_test = np.array([place.split == "test" for place in kept])
    else:
        is_test = split_by_digest(target, loaded.digests, spec.test_fraction)
    return Arrays(loaded.images[~is_test], target[~is_test], loaded.images[is_test], target[is_test])


def place_images(names: list[str], class_names: tuple[str, ...]) -> dict[str, Place]:
    """The class and split of each name that has one; images elsewhere (no class in their path) are left out."""
    index = {_plain(name): k for k, name in enumerate(class_names)}
    places = {}
    for name in names:
        *folders, file = PurePosixPath(name).parts
        by_folder = index.get(_plain(folders[-1])) if folders else None
        found = by_folder if by_folder is not None else index.get(_plain(file.split(".")[0]))
        if found is not None:
            above = [SPLITS[folder.lower()] for folder in folders if folder.lower() in SPLITS]
            places[name] = Place(found, above[-1] if above else "")
    return places


def find_classes(names: list[str]) -> tuple[str, ...]:
    """The folders that hold images, sorted: the classes of a dataset that no row describes."""
    return tuple(sorted({PurePosixPath(name).parts[-2] for name in names if len(PurePosixPath(name).parts) > 1}))


def split_by_digest(target: Indices, digests: list[str], test_fraction: float) -> npt.NDArray[np.bool_]:
    """Mark the test images: of each class, the share whose files have the smallest sha256.

    Needs no random generator, and follows the image, not its name or place. Equal digests stay on one side
    where the border allows it, so copies seldom straddle the split.
    """
    is_test = np.zeros(len(target), dtype=bool)
    order = np.argsort(np.array(digests), kind="stable")
    for class_index in np.unique(target):
        members = order[target[order] == class_index]
        is_test[members[: round(test_fraction * len(members))]] = True
    return is_test


def decode_all(spec: DatasetSpec, path: Path, names: list[str], *, skip_damaged: bool) -> Loaded:
    """Decode the files `names` (sorted) of `path` into one array, with a progress bar on a terminal."""
    from tqdm import tqdm

    position = {name: k for k, name in enumerate(names)}
    images = np.zeros((len(names), *spec.image_shape), dtype=np.uint8)
    digests = [""] * len(names)
    problems = []
    files = iterate_files(path, IMAGE_SUFFIXES)
    bar = tqdm(total=len(names), desc=f"import {spec.name}", unit=" images", mininterval=0.5)
    with bar:
        for name, content in files:
            if name not in position:
                continue
            k = position[name]
            try:
                images[k] = decode(content, spec.image_shape, crop=spec.crop, name=f"{path}: {name}")
            except ValueError as error:
                if not skip_damaged:
                    raise
                problems.append(str(error))
            else:
                digests[k] = hashlib.sha256(content).hexdigest()
            bar.update()
    readable = np.array([bool(digest) for digest in digests])
    if problems:
        warnings.warn(f"{len(problems)} damaged images left out, the first: {problems[0]}", stacklevel=2)
        images = images[readable]
    return Loaded(images, [digest for digest in digests if digest], readable)


def _check_classes(spec: DatasetSpec, path: Path, names: list[str], places: dict[str, Place]) -> None:
    found = {place.class_index for place in places.values()}
    missing = [name for k, name in enumerate(spec.class_names) if k not in found]
    if missing:
        seen = ", ".join(find_classes(names)[:20]) or "no folders of images"
        raise ValueError(
            f"{path}: {spec.name} needs images of {', '.join(spec.class_names)}, in one folder a class; "
            f"none were found of {', '.join(missing)} (found: {seen})"
        )


def _plain(name: str) -> str:
    """Compare names of classes without case, plural s, spaces and signs."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("s")


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


# Read the python batches of CIFAR-10 and CIFAR-100.
#
# Their publisher gives them as pickles. A pickle can run any code, so this is the one file that imports pickle, and
# it allows nothing but the parts an array is made of: see `ArraysOnly`.

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


# Read SVHN, photographed house numbers, from its two Matlab files.


def read_svhn(spec: DatasetSpec, folder: Path) -> Arrays:
    """train_32x32.mat and test_32x32.mat of `folder`; the extra images are not used, as in paper 001."""
    train, test = (_read_mat(folder / name, digest) for name, digest in spec.files.items())
    return Arrays(*train, *test)


def _read_mat(path: Path, digest: str) -> tuple[Bytes, Indices]:
    from scipy.io import loadmat

    payload = path.read_bytes()
    check_digest(path, digest, payload)
    try:
        content = loadmat(io.BytesIO(payload), variable_names=["X", "y"])
        images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1), dtype=np.uint8)  # was (H, W, C, N)
        target = content["y"].reshape(-1).astype(np.int64) % 10  # the file calls the digit 0 class 10
    except Exception as error:  # a damaged file can raise anything
        raise damaged(path, f"it is no SVHN file ({error})") from error
    if len(images) != len(target):
        raise damaged(path, f"{len(images)} images with {len(target)} targets")
    return images, target


# Read HAM10000: photographs of skin, with the diagnosis of each in a CSV file.

METADATA = "HAM10000_metadata"


def read_ham10000(spec: DatasetSpec, path: Path, *, skip_damaged: bool = False) -> Arrays:
    """The images that HAM10000_metadata names, sorted by image id, from a folder, an archive or a folder of zips.

    The same lesion was photographed up to six times, so the split is by lesion: of each diagnosis, lesions in
    the order of the sha256 of their id go to the test images until these have their share.
    Raises ValueError when the CSV names an unknown diagnosis or an image is missing.
    """
    from tqdm import tqdm

    rows = read_metadata(spec, path)
    position = {row["image_id"]: k for k, row in enumerate(rows)}
    images = np.zeros((len(rows), *spec.image_shape), dtype=np.uint8)
    missing = set(position)
    with tqdm(total=len(rows), desc=f"import {spec.name}", unit=" images", mininterval=0.5) as bar:
        for source in _sources(path):
            for name, content in iterate_files(source, IMAGE_SUFFIXES):
                image_id = PurePosixPath(name).stem
                if image_id in missing:
                    where = f"{source}: {name}"
                    images[position[image_id]] = decode(content, spec.image_shape, crop=spec.crop, name=where)
                    missing.discard(image_id)
                    bar.update()
    if missing:
        raise damaged(path, f"{len(missing):,} of {len(rows):,} images are missing, such as {min(missing)}")
    target = np.array([spec.class_names.index(row["dx"]) for row in rows], dtype=np.int64)
    is_test = np.array(split_by_lesion(rows, spec.test_fraction))
    return Arrays(images[~is_test], target[~is_test], images[is_test], target[is_test])


def read_metadata(spec: DatasetSpec, path: Path) -> list[dict[str, str]]:
    """The rows of the CSV, sorted by image_id, with at least image_id, lesion_id and dx."""
    for source in _sources(path):
        for name, content in iterate_files(source, (f"{METADATA}.csv".lower(), METADATA.lower())):
            rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
            where = source / name
            if not rows or not {"image_id", "lesion_id", "dx"} <= set(rows[0]):
                raise damaged(where, "it should be a CSV with the columns lesion_id, image_id and dx")
            if unknown := {row["dx"] for row in rows} - set(spec.class_names):
                raise damaged(where, f"it names the diagnoses {sorted(unknown)}, known are {spec.class_names}")
            return sorted(rows, key=lambda row: row["image_id"])
    raise FileNotFoundError(f"{path} holds no {METADATA}.csv, which names the diagnosis of each image")


def split_by_lesion(rows: list[dict[str, str]], test_fraction: float) -> list[bool]:
    """For each row whether it is a test image; all images of one lesion are on the same side."""
    wanted: dict[str, float] = {}
    for row in rows:
        wanted[row["dx"]] = wanted.get(row["dx"], 0) + test_fraction
    order = sorted(range(len(rows)), key=lambda k: hashlib.sha256(rows[k]["lesion_id"].encode()).digest())
    is_test = [False] * len(rows)
    taken: dict[str, int] = {}
    lesions: set[str] = set()
    for k in order:
        dx, lesion = rows[k]["dx"], rows[k]["lesion_id"]
        if lesion in lesions or taken.get(dx, 0) < round(wanted[dx]):
            is_test[k] = True
            taken[dx] = taken.get(dx, 0) + 1
            lesions.add(lesion)
    return is_test


def _sources(path: Path) -> list[Path]:
    """`path` and, where it is a folder, the archives in it: the publisher gives the images as two zips."""
    if not path.is_dir():
        return [path]
    return [path, *sorted(file for file in path.iterdir() if is_archive(file))]


# Four shapes drawn by arithmetic: a dataset whose answer is known, for tests.

SIZE = 16


def read_shapes(spec: DatasetSpec, folder: Path) -> Arrays:
    """Draw the images of `spec`; nothing is read. No random generator: the same bytes for ever."""
    train = draw_shapes(0, spec.train_size)
    test = draw_shapes(spec.train_size, spec.test_size)
    return Arrays(*train, *test)


def draw_shapes(first: int, count: int) -> tuple[Bytes, Indices]:
    """`count` images from number `first` on: (count, 1, 16, 16), and their classes in turn 0 1 2 3 0 1 ...

    Place, size, brightness and a little noise follow from the image's number by a hash.
    """
    number = np.arange(first, first + count, dtype=np.uint64)
    target = (number % 4).astype(np.int64)
    fate = [(_scramble(number * np.uint64(8) + np.uint64(k)) >> np.uint64(40)).astype(np.int64) for k in range(4)]
    centre_x, centre_y, radius = 6.5 + fate[0] % 4, 6.5 + fate[1] % 4, 3.5 + fate[2] % 3
    brightness = 130 + fate[3] % 90

    grid = np.arange(SIZE)
    x = np.abs(grid[None, None, :] - centre_x[:, None, None])
    y = np.abs(grid[None, :, None] - centre_y[:, None, None])
    r = radius[:, None, None]
    distance = np.sqrt(x**2 + y**2)
    square = np.maximum(x, y) <= r
    disc = distance <= r
    cross = (np.minimum(x, y) <= 1) & square
    ring = disc & (distance >= r - 1.5)
    inside = np.choose(target[:, None, None], [square, disc, cross, ring])

    pixel = np.arange(count * SIZE * SIZE, dtype=np.uint64) + np.uint64(first * SIZE * SIZE)
    noise = (_scramble(pixel) >> np.uint64(59)).astype(np.int64).reshape(count, SIZE, SIZE)
    images = inside * brightness[:, None, None] + noise
    return images.astype(np.uint8)[:, None], target


def _scramble(
    number: np.ndarray[tuple[int, ...], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """splitmix64 (Steele et al. 2014): consecutive numbers in, unrelated numbers out."""
    z = number * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
