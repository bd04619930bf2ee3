"""The state of an unfinished run: whole, checked and readable without running any code."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from lossbench.files import replacing

_NAME = "checkpoint.pt"
_DIGEST_BYTES = 32


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint by `state`: a sha256 digest, then what torch saves."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    with replacing(folder / _NAME) as temporary, temporary.open("wb") as file:
        file.write(hashlib.sha256(payload).digest())
        file.write(payload)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state that was last written, or None where there is none or the file is damaged."""
    try:
        content = (folder / _NAME).read_bytes()
    except FileNotFoundError:
        return None
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
    return state


def remove_checkpoint(folder: Path) -> None:
    """Delete the checkpoint, if there is one."""
    (folder / _NAME).unlink(missing_ok=True)
