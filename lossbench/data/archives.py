"""The files inside a folder, a zip or a tar, read in memory: nothing is ever extracted to a path."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from lzma import LZMAError
from pathlib import Path

from lossbench.data.integrity import damaged

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
