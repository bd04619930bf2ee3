"""Where dataset files are looked for: the folder named, LOSSBENCH_DATA, the cache, Debian's folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lossbench.data.dataset import DatasetSpec

DEBIAN = Path("/usr/share/datasets")
_REMEDY = (
    "name a folder that holds the dataset's files (`lossbench data info NAME` lists them), "
    "or none: fashion-mini, inside the package, needs no folder"
)


def cache_folder() -> Path:
    """Where imported and downloaded datasets are kept; LOSSBENCH_CACHE overrides the platform's place."""
    if chosen := os.environ.get("LOSSBENCH_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "lossbench"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lossbench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lossbench"


def find_dataset(spec: DatasetSpec, data: Path | None = None) -> Path:
    """The folder that holds the files of `spec`.

    Args:
        data: a folder the user names; then only this one is searched.
    Raises FileNotFoundError that says where was looked, what was expected and how to get it.
    """
    root = None if data is None else _existing(Path(data), "the data folder")
    if spec.embedded:
        return Path(__file__).parent / spec.embedded
    if root is not None:
        return _below(spec, root) or _refuse(spec, [root])
    roots = [cache_folder(), DEBIAN]
    if named := os.environ.get("LOSSBENCH_DATA"):
        roots.insert(0, _existing(Path(named), "LOSSBENCH_DATA"))
    for root in roots:
        if folder := _below(spec, root):
            return folder
    return _refuse(spec, roots)


def _existing(folder: Path, what: str) -> Path:
    folder = folder.expanduser()
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{what} {str(folder)!r} {found}; {_REMEDY}")
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"{what} {str(folder)!r} is empty; {_REMEDY}")
    return folder


def _below(spec: DatasetSpec, root: Path) -> Path | None:
    """The first of `root` and its known subfolders that holds every file of `spec`, packed or not."""
    for folder in (root, *(root / name for name in (spec.name, *spec.folders))):
        if all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in spec.files):
            return folder
    return None


def _refuse(spec: DatasetSpec, roots: list[Path]) -> Path:
    raise FileNotFoundError(
        f"{spec.name} was not found in {', '.join(map(str, roots))}; expected there, or in a subfolder "
        f"{' or '.join((spec.name, *spec.folders))}: {', '.join(spec.files)} (or the same with .gz).\n"
        "Ways to get it:\n"
        "  1. name the folder that holds these files: --data FOLDER or LOSSBENCH_DATA=FOLDER\n"
        f"  2. fetch it once, with a network: lossbench data download {spec.name}\n"
        f"  3. {spec.source}\n"
        "  4. use fashion-mini, which is inside the package and needs no files: --dataset fashion-mini"
    )
