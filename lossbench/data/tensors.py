"""An imported dataset: one safetensors file that holds its images, its targets and what is known about it."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lossbench.data.dataset import Arrays, channel_statistics, fingerprint
from lossbench.data.integrity import damaged
from lossbench.files import DiskFull, replacing

SUFFIX = ".safetensors"
_STALE_SECONDS = 3600


@dataclass(frozen=True)
class Imported:
    """What an imported file says about itself. `origin` names the file or folder it was made from."""

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train_size: int
    test_size: int
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str
    split: str


def write_tensors(
    path: Path, name: str, class_names: tuple[str, ...], arrays: Arrays, *, origin: str, split: str
) -> Imported:
    """Write `arrays` to `path` whole or not at all, with their fingerprint, mean and standard deviation."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    mean, std = channel_statistics(arrays.train_images)
    about = Imported(
        name=name,
        class_names=class_names,
        image_shape=arrays.train_images.shape[1:],
        train_size=len(arrays.train_images),
        test_size=len(arrays.test_images),
        fingerprint=fingerprint(arrays),
        mean=mean,
        std=std,
        origin=origin,
        split=split,
    )
    text = json.dumps(asdict(about), sort_keys=True)
    _remove_leftovers(path)
    try:
        with replacing(path) as temporary:
            save_file(arrays._asdict(), temporary, metadata={"about": text, "check": _check(text)})
    except (SafetensorError, OSError) as error:
        size = sum(array.nbytes for array in (arrays.train_images, arrays.test_images))
        raise _no_room(path, f"{size:,} bytes", error) from error
    return about


def read_about(path: Path) -> Imported:
    """What `path` says about itself, from its header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        text = metadata["about"]
        if metadata["check"] != _check(text):
            raise ValueError("its description was changed")
        values: dict[str, Any] = json.loads(text)
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return Imported(**values)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise damaged(path, f"it is no dataset that lossbench imported ({error})") from error


def read_tensors(path: Path) -> tuple[Arrays, Imported]:
    """The arrays of `path`, checked against the fingerprint it records.

    Raises ValueError naming the file when a single byte is not what was written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    about = read_about(path)
    try:
        arrays = Arrays(**load_file(path))
    except (SafetensorError, TypeError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if fingerprint(arrays) != about.fingerprint:
        raise damaged(path, f"its fingerprint is not {about.fingerprint}, which it had when it was imported")
    return arrays, about


def require_room(path: Path) -> None:
    """Prove that a file can be written beside `path`, before the work whose result it will hold.

    Raises PermissionError that names the folder and says what to do.
    """
    try:
        with replacing(path.with_name(f"{path.name}.probe")):
            pass
        path.with_name(f"{path.name}.probe").unlink()
    except OSError as error:
        raise _no_room(path, "a file", error) from error


def _no_room(path: Path, what: str, error: Exception) -> PermissionError:
    reason = error.__cause__ if isinstance(error, DiskFull) else error
    return PermissionError(
        f"cannot write {what} to {path} ({reason}); make room there, or choose another folder with LOSSBENCH_CACHE"
    )


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _remove_leftovers(path: Path) -> None:
    """Delete what a killed import left behind; one still running has touched its file within the hour."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
            leftover.unlink(missing_ok=True)
