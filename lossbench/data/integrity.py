"""Digests of files, and the one wording for a file that is not what it should be."""

from __future__ import annotations

import hashlib
from pathlib import Path


def check_digest(path: Path, expected: str, payload: bytes, packed: bytes | None = None) -> None:
    """Refuse `payload` unless its digest is `expected` ("" accepts everything).

    Args:
        expected: "sha256:<hex>" or "md5:<hex>" of `payload`, or "gz-md5:<hex>" of `packed`, the file as it
            lies on disk, which is all that some publishers give; skipped for a file already unpacked.
    Raises ValueError naming the file.
    """
    kind, _, digest = expected.partition(":")
    if kind == "gz-md5":
        if path.suffix != ".gz" or packed is None:
            return
        payload = packed
    if not digest:
        return
    algorithm = "sha256" if kind == "sha256" else "md5"
    found = hashlib.new(algorithm, payload, usedforsecurity=False).hexdigest()
    if found != digest:
        raise damaged(path, f"its {algorithm} is {found}, expected {digest}{_owner(found)}")


def _owner(digest: str) -> str:
    """A hint where the file is a good one, but of another dataset."""
    from lossbench.data.registry import DATASETS

    owners = [name for name, spec in DATASETS.items() if any(digest in known for known in spec.files.values())]
    return f": it is a file of {owners[0]}" if owners else ""


def damaged(path: Path, what: str) -> ValueError:
    """The error for a file whose content is wrong."""
    return ValueError(
        f"{path}: not the expected content: {what}. It is damaged or another file under this name: get it again "
        "from its source, or name the right one (for images inside the package: reinstall lossbench)"
    )
