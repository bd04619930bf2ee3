"""Where datasets are looked for: the folder named, LOSSBENCH_DATA, the cache, Debian's folder."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from lossbench.data.dataset import DatasetSpec
from lossbench.data.tensors import SUFFIX

DEBIAN = Path("/usr/share/datasets")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REMEDY = (
    "name a folder that holds the dataset's files (`lossbench data info NAME` lists them), "
    "or none: fashion-mini, inside the package, needs no folder"
)


def cache_folder() -> Path:
    """Where imported datasets are kept; LOSSBENCH_CACHE overrides the platform's place."""
    if chosen := os.environ.get("LOSSBENCH_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "lossbench"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lossbench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lossbench"


def cache_path(name: str) -> Path:
    """Where the cache keeps the imported dataset `name`. Raises ValueError for a name that is no plain file name."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a dataset; use letters, digits, '.', '_' and '-', at most 100 of them, "
            "the first a letter or digit"
        )
    return cache_folder() / f"{name}{SUFFIX}"


def search_roots(data: Path | None = None) -> list[Path]:
    """The folders that are searched, first to last; a folder `data` that the user names is searched alone.

    Raises FileNotFoundError when a folder that the user names is missing or empty.
    """
    if data is not None:
        return [_existing(Path(data), "the data folder")]
    named = os.environ.get("LOSSBENCH_DATA")
    return [*([_existing(Path(named), "LOSSBENCH_DATA")] if named else []), cache_folder(), DEBIAN]


def find_dataset(spec: DatasetSpec, data: Path | None = None) -> Path:
    """The folder that holds the files of `spec`, or the one file that an import made of them.

    Args:
        data: a folder the user names; then only this one is searched, and the cache for what was imported.
    Raises FileNotFoundError that says where was looked, what was expected and how to get it.
    """
    if spec.embedded:
        if data is not None:
            search_roots(data)
        return Path(__file__).parent / spec.embedded
    roots = search_roots(data)
    for root in roots:
        if found := find_tensors(spec.name, [root]) or find_files(spec, root):
            return found
    # What has to be imported is read from the cache, even where the folder named holds its source.
    imported = None if spec.files else find_tensors(spec.name, [cache_folder()])
    return imported or _refuse(spec, roots)


def find_tensors(name: str, roots: list[Path]) -> Path | None:
    """The imported dataset `name`, the first of the `roots` that has it."""
    return next((path for root in roots if (path := root / f"{name}{SUFFIX}").is_file()), None)


def find_files(spec: DatasetSpec, root: Path) -> Path | None:
    """The first of `root` and its known subfolders that holds every file of `spec`, packed or not."""
    if not spec.files:
        return None
    return next((folder for folder in _places(spec, root) if not _missing(spec, folder)), None)


def _existing(folder: Path, what: str) -> Path:
    folder = folder.expanduser()
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{what} {str(folder)!r} {found}; {_REMEDY}")
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"{what} {str(folder)!r} is empty; {_REMEDY}")
    return folder


def _places(spec: DatasetSpec, root: Path) -> list[Path]:
    return [root, *(root / name for name in (spec.name, *spec.folders))]


def _missing(spec: DatasetSpec, folder: Path) -> list[str]:
    return [name for name in spec.files if not any((folder / f).is_file() for f in (name, f"{name}.gz"))]


def _refuse(spec: DatasetSpec, roots: list[Path]) -> Path:
    expected = f"{spec.name}{SUFFIX}"
    if spec.files:
        expected += f", or in it or its subfolder {' or '.join((spec.name, *spec.folders))}: {', '.join(spec.files)}"
        expected += " (or these with .gz)"
    partly = [
        f"{folder} lacks {', '.join(missing)}. "
        for root in roots
        for folder in _places(spec, root)
        if 0 < len(missing := _missing(spec, folder)) < len(spec.files)
    ]
    remedies = [
        "name the folder that holds it: --data FOLDER or LOSSBENCH_DATA=FOLDER",
        f"import its files or archive once: lossbench data import PATH --name {spec.name}",
        f"fetch it, with a network: lossbench data download {spec.name}" if spec.urls else "",
        f"get it from {spec.source}" if not spec.source.startswith("apt") else spec.source,
        "use fashion-mini, which is inside the package: --dataset fashion-mini",
    ]
    listed = [f"\n  {k}. {remedy}" for k, remedy in enumerate(filter(None, remedies), start=1)]
    raise FileNotFoundError(
        f"{spec.name} was not found in {', '.join(map(str, roots))}; expected there: {expected}. "
        f"{''.join(partly)}Ways to get it:{''.join(listed)}"
    )
