"""Read what publishers and users have: idx, CIFAR, SVHN and HAM10000 files, class folders, archives of them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
import stat
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lossbench.data.dataset import Arrays, Bytes, DatasetSpec, Indices, check_digest, damaged
from lossbench.data.layout import Place, listed, role_of, suffix_of

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
LINK = "a link or no regular file"
MAX_BYTES = 256 * 2**20  # of one file: an archive may claim any size

Pixels = npt.NDArray[np.uint8]


class Files(NamedTuple):
    """What a folder or an archive holds: name -> the file with its content, and (reason, suffix) of the others.

    Names are relative, with forward slashes.
    """

    paths: dict[str, Path]
    left_out: Counter[tuple[str, str]]

    def images(self) -> list[str]:
        """The names of the images, sorted."""
        return sorted(name for name in self.paths if name.lower().endswith(IMAGE_SUFFIXES))


class _Member(NamedTuple):
    name: str
    size: int
    regular: bool
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES)


def collect(path: Path, scratch: Path, wanted: tuple[str, ...] = IMAGE_SUFFIXES) -> Files:
    """The files of `path` whose names end in one of `wanted`; an archive's are unpacked into the folder `scratch`.

    They lie there under numbers, so no name leads elsewhere or meets another one. Links, hidden files and
    `__MACOSX` are left out. Raises ValueError naming the archive when it is damaged.
    """
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; name a folder or an archive of images")
    files = Files({}, Counter())
    if path.is_dir():
        for folder, subfolders, inside in os.walk(path, onerror=_raise):
            links = [name for name in subfolders if Path(folder, name).is_symlink()]
            for file in (Path(folder, name) for name in (*inside, *links)):
                name = file.relative_to(path).as_posix()
                if reason := _reason_to_leave_out(name, wanted, regular=file.is_file() and not file.is_symlink()):
                    files.left_out[reason, suffix_of(name)] += 1
                else:
                    files.paths[name] = file
        return files
    free = shutil.disk_usage(scratch).free
    try:
        for number, member in enumerate(_members(path)):
            name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
            outside = member.name.startswith("/") or ".." in name.split("/")
            reason = _reason_to_leave_out(name, wanted, regular=member.regular, outside=outside)
            if reason:
                files.left_out[reason, suffix_of(name)] += 1
                continue
            free -= member.size
            if member.size > MAX_BYTES:
                limit = f"at most {MAX_BYTES:,} are read for one file"
                raise ValueError(f"{path}: {name!r} claims {member.size:,} bytes; {limit}")
            if free < 0:
                raise ValueError(f"{path}: its files need more room than {scratch.parent} has; make room there")
            if name in files.paths:
                files.left_out["a second file of one name", suffix_of(name)] += 1
            target = scratch / str(number)
            with member.open() as source, target.open("wb") as unpacked:  # type: ignore[union-attr]  # it is regular
                shutil.copyfileobj(source, unpacked)
            files.paths[name] = target
    except (zipfile.BadZipFile, tarfile.TarError, LZMAError, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise damaged(path, f"it does not unpack as zip or tar ({error})") from error  # RuntimeError: a password
    return files


def _raise(error: OSError) -> None:
    raise error


def _members(path: Path) -> Iterator[_Member]:
    if not zipfile.is_zipfile(path):
        with tarfile.open(path, "r|*") as tar:
            for info in tar:
                if not info.isdir():
                    yield _Member(info.name, info.size, info.isreg(), partial(tar.extractfile, info))
        return
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        for member in members:
            slashes = "/" in member.filename  # old versions of .NET write the others
            name = member.filename if slashes else member.filename.replace("\\", "/")
            regular = not stat.S_ISLNK(member.external_attr >> 16)
            yield _Member(name, member.file_size, regular, partial(archive.open, member))


def _reason_to_leave_out(name: str, wanted: tuple[str, ...], *, regular: bool, outside: bool = False) -> str:
    if not regular:
        return LINK
    if outside:
        return "a path that leads out of the archive"
    if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
        return "hidden"
    return "" if name.lower().endswith(wanted) else "no image that can be read"


# From the bytes of one image file to a uint8 array of the wanted shape.

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # eight bits a channel


@contextmanager
def opened(content: bytes | Path, name: str) -> Iterator[Image.Image]:
    """Open an image. Raises ValueError naming the file for whatever goes wrong in the block."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            yield image
    except Exception as error:  # a damaged image can raise anything: struct.error, TypeError, a bomb, ...
        why = "no image format that is known" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{name}: not a readable image ({why}); remove it or use --skip-damaged") from error


def decode(content: bytes, image_shape: tuple[int, int, int], *, crop: bool, name: str) -> Pixels:
    """Decode `content` and bring it to `image_shape` (C, H, W).

    Args:
        crop: keep the proportions and cut the middle out, instead of stretching.
        name: of the file, for errors.
    Returns: (C, H, W) uint8, grey for one channel, RGB for three; what is transparent is white.
    Raises ValueError naming the file when it is no image, is cut short or has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    channels, height, width = image_shape
    with opened(content, name) as image:
        if image.mode not in _MODES:
            raise ValueError(f"its mode is {image.mode}, only 8 bits a channel can be read")
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            bilinear = Image.Resampling.BILINEAR
            fit = ImageOps.fit if crop else Image.Image.resize
            image = fit(image, (width, height), bilinear)
        pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


# Read images that lie in one folder a class, in a folder or an archive.


def read_class_folders(spec: DatasetSpec, files: Files, *, skip_damaged: bool = False) -> Arrays:
    """Every image of the classes of `spec`, in the order of their names: see `place_images` and `read_images`.

    Raises ValueError when a class is missing or a file cannot be decoded.
    """
    places = place_images(files.images(), spec.class_names)
    there = {place.class_index for place in places.values()}
    if missing := [name for k, name in enumerate(spec.class_names) if k not in there]:
        folders = {PurePosixPath(name).parent.name for name in files.images()}
        raise ValueError(
            f"{spec.name} needs images of {', '.join(spec.class_names)}, in one folder a class; none were found of "
            f"{', '.join(missing)} (found: {listed(sorted(folders)) or 'no folders of images'})"
        )
    return read_images(spec, files, places, skip_damaged=skip_damaged)


def read_archives(spec: DatasetSpec, folder: Path) -> Arrays:
    """The class folders in the archives of `folder` that `spec.files` names, unpacked into a scratch folder.

    What lies under the same three last names in two archives is one image.
    """
    files = Files({}, Counter())
    with tempfile.TemporaryDirectory(prefix="lossbench-") as scratch:
        for number, (name, digest) in enumerate(spec.files.items()):
            path = find_file(folder, name) or folder / name
            check_digest(path, digest, path.read_bytes())
            inside = Path(scratch, str(number))
            inside.mkdir()
            for image, unpacked in collect(path, inside).paths.items():
                files.paths["/".join(PurePosixPath(image).parts[-3:])] = unpacked
        try:
            return read_class_folders(spec, files)
        except ValueError as error:
            raise ValueError(f"{folder / next(iter(spec.files))}: {error}") from error


def place_images(names: list[str], class_names: tuple[str, ...]) -> dict[str, Place]:
    """The place of each image of a published dataset; images of no class in their path are left out.

    The class is the folder an image lies in (`rose/1.jpg`), or that with the one above (`Greek/character01/1.png`), or
    the start of its name (`cat.1.jpg`), whatever case, plural and signs; the outermost folder above it that speaks of
    a split gives the side.
    """
    index = {_plain(name): k for k, name in enumerate(class_names)}
    places = {}
    for name in names:
        *folders, file = PurePosixPath(name).parts
        by_folder = index.get(_plain(folders[-1]), index.get(_plain("".join(folders[-2:])))) if folders else None
        class_index = by_folder if by_folder is not None else index.get(_plain(file.split(".")[0]))
        if class_index is not None:
            roles = filter(None, map(role_of, folders if by_folder is None else folders[:-1]))
            places[name] = Place(class_index, {"train": "train", "": ""}.get(next(roles, ""), "test"))
    return places


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("s")


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


def read_images(spec: DatasetSpec, files: Files, places: Mapping[str, Place], *, skip_damaged: bool) -> Arrays:
    """Decode the images that have a place, with a progress bar on a terminal.

    The folders give the split where they name a training and a test side, else the rule of `split_by_digest` does.
    """
    from tqdm import tqdm

    images = np.zeros((len(places), *spec.image_shape), dtype=np.uint8)
    digests: list[str] = []
    read: list[Place] = []
    problems = []
    for name in tqdm(sorted(places), desc=f"import {spec.name}", unit=" images", mininterval=0.5):
        try:
            content = files.paths[name].read_bytes()
            images[len(read)] = decode(content, spec.image_shape, crop=spec.crop, name=name)
        except (ValueError, OSError) as error:
            if not skip_damaged:
                raise
            problems.append(str(error).removesuffix("; remove it or use --skip-damaged"))
            files.left_out["damaged", suffix_of(name)] += 1
        else:
            whose = spec.group(name).encode() if spec.group else content
            digests.append(hashlib.sha256(whose).hexdigest())
            read.append(places[name])
    if problems:
        warnings.warn("\n".join([f"{len(problems)} damaged images left out:", *problems]), stacklevel=2)
    images, target = images[: len(read)], np.array([place.class_index for place in read], dtype=np.int64)
    if {"train", "test"} <= {place.split for place in places.values()}:  # damaged ones too: the rule stays the same
        sides = np.array([place.split for place in read], dtype=str)
    else:
        sides = np.where(split_by_digest(target, digests, spec.test_fraction), "test", "train")
    parts = [part[sides == side] for side in ("train", "test", "validation") for part in (images, target)]
    return Arrays(*parts) if "validation" in sides else Arrays(*parts[:4])


def read_sheets(spec: DatasetSpec, folder: Path) -> Arrays:
    """The two pictures of `folder`, each with one row of images a class; the training images come first."""
    _, height, width = spec.image_shape
    parts: list[npt.NDArray[Any]] = []
    for name, digest in spec.files.items():
        content = (folder / name).read_bytes()
        check_digest(folder / name, digest, content)
        with opened(content, str(folder / name)) as sheet:
            pixels = np.asarray(sheet.convert("RGB"))
        rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
        images = pixels.reshape(rows, height, columns, width, 3).transpose(2, 0, 4, 1, 3).reshape(-1, 3, height, width)
        parts += checked(spec, folder / name, np.ascontiguousarray(images), np.arange(len(images)) % rows)
    return Arrays(*parts)


# Read and write idx, the format of the MNIST family: a big-endian header, then the bytes.

TRAIN_IMAGES, TRAIN_TARGET = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_TARGET = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_FILES = (TRAIN_IMAGES, TRAIN_TARGET, TEST_IMAGES, TEST_TARGET)


def read_idx_dataset(spec: DatasetSpec, folder: Path) -> Arrays:
    """The four idx files of `folder`, packed or not, each checked against the digest that `spec` knows."""
    return Arrays(*_read_idx_pair(spec, folder, *IDX_FILES[:2]), *_read_idx_pair(spec, folder, *IDX_FILES[2:]))


def read_idx_test_split(spec: DatasetSpec, folder: Path) -> Arrays:
    """Only the two test files of `folder`, divided by the digest of each image: see `split_by_digest`."""
    images, target = _read_idx_pair(spec, folder, TEST_IMAGES, TEST_TARGET)
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    is_test = split_by_digest(target, digests, spec.test_fraction)
    return Arrays(images[~is_test], target[~is_test], images[is_test], target[is_test])


def _read_idx_pair(spec: DatasetSpec, folder: Path, *names: str) -> tuple[Bytes, Indices]:
    paths = [find_file(folder, name) for name in names]
    if None in paths:
        raise FileNotFoundError(f"{folder} has no {' or '.join(names)} (or these with .gz), which {spec.name} needs")
    images, target = (read_idx(path, spec.files[name]) for path, name in zip(paths, names, strict=True) if path)
    return checked(spec, folder / names[0], images[:, None] if images.ndim == 3 else images, target.astype(np.int64))


def checked(spec: DatasetSpec, path: Path, images: Bytes, target: Indices) -> tuple[Bytes, Indices]:
    """Refuse images of another shape than the row's, or targets that do not fit them; `path` is named in errors."""
    fits = target.shape == images.shape[:1] and images.shape[1:] == spec.image_shape
    if not fits or (len(target) and not 0 <= target.min() <= target.max() < spec.num_classes):
        raise damaged(path, f"images {images.shape} with targets {target.shape} of {spec.num_classes} classes")
    return images, target


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
    return checked(spec, path, images, target)


# Read SVHN, photographed house numbers, from its two Matlab files.


def read_svhn(spec: DatasetSpec, folder: Path) -> Arrays:
    """train_32x32.mat and test_32x32.mat of `folder`; the extra images are not used, as in paper 001."""
    train, test = (_read_mat(spec, folder / name) for name in spec.files)
    return Arrays(*train, *test)


def _read_mat(spec: DatasetSpec, path: Path) -> tuple[Bytes, Indices]:
    from scipy.io import loadmat

    payload = path.read_bytes()
    check_digest(path, spec.files[path.name], payload)
    try:
        content = loadmat(io.BytesIO(payload), variable_names=["X", "y"])
        images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1), dtype=np.uint8)  # was (H, W, C, N)
        target = content["y"].reshape(-1).astype(np.int64) % 10  # the file calls the digit 0 class 10
    except Exception as error:  # a damaged file can raise anything
        raise damaged(path, f"it is no SVHN file ({error})") from error
    return checked(spec, path, images, target)


# Read HAM10000: photographs of skin, with the diagnosis of each in a CSV file.

METADATA = "HAM10000_metadata"


def read_ham10000(spec: DatasetSpec, files: Files, *, skip_damaged: bool = False) -> Arrays:
    """The images that HAM10000_metadata names, sorted by image id.

    The same lesion was photographed up to six times, so the split is by lesion: of each diagnosis, lesions in
    the order of the sha256 of their id go to the test images until these have their share.
    Raises ValueError when the CSV names an unknown diagnosis or an image is missing.
    """
    rows = read_metadata(spec, files)
    paths = {PurePosixPath(name).stem: name for name in reversed(files.images())}
    if missing := sorted({row["image_id"] for row in rows} - set(paths)):
        raise ValueError(f"{spec.name}: {len(missing):,} of {len(rows):,} images are missing, such as {missing[0]}")
    sides = ["test" if is_test else "train" for is_test in split_by_lesion(rows, spec.test_fraction)]
    by_id = Files({row["image_id"]: files.paths[paths[row["image_id"]]] for row in rows}, files.left_out)
    places = {
        row["image_id"]: Place(spec.class_names.index(row["dx"]), side) for row, side in zip(rows, sides, strict=True)
    }
    return read_images(spec, by_id, places, skip_damaged=skip_damaged)


def read_metadata(spec: DatasetSpec, files: Files) -> list[dict[str, str]]:
    """The rows of the CSV, sorted by image_id, with at least image_id, lesion_id and dx."""
    name = next((name for name in files.paths if PurePosixPath(name).stem == METADATA), None)
    if name is None:
        raise FileNotFoundError(f"there is no {METADATA}.csv, which names the diagnosis of each image")
    rows = list(csv.DictReader(io.StringIO(files.paths[name].read_text(encoding="utf-8-sig"))))
    if not rows or not {"image_id", "lesion_id", "dx"} <= set(rows[0]):
        raise damaged(Path(name), "it should be a CSV with the columns lesion_id, image_id and dx")
    if unknown := {row["dx"] for row in rows} - set(spec.class_names):
        raise damaged(Path(name), f"it names the diagnoses {sorted(unknown)}, known are {spec.class_names}")
    return sorted(rows, key=lambda row: row["image_id"])


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
