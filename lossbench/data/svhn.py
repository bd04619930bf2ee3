"""Read SVHN, photographed house numbers, from its two Matlab files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lossbench.data.dataset import Arrays, Bytes, Indices
from lossbench.data.integrity import check_digest, damaged

if TYPE_CHECKING:
    from lossbench.data.dataset import DatasetSpec


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
