"""Rebuild the images inside the package from the full Fashion-MNIST.

Run `python -m lossbench.data.build_fashion_mini`. The choice: of each class, the 500 training and the 200
test images whose sha256 (of the 784 bytes) is smallest, kept in the order of the original files. A hash spreads
the choice over the whole file as a random draw would, needs no random generator whose stream a library may
change, and can be repeated in any language.

Images and targets come out bit for bit the same everywhere; the packed files too, where Python links the
original zlib (zlib-ng packs the same bytes differently).
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from lossbench.data.dataset import Bytes, Indices
from lossbench.data.datasets import DATASETS
from lossbench.data.loading import find_dataset
from lossbench.data.readers import TEST_IMAGES, TEST_TARGET, TRAIN_IMAGES, TRAIN_TARGET, write_idx

TRAIN_PER_CLASS, TEST_PER_CLASS = 500, 200
EMBEDDED = Path(__file__).parent / "fashion_mini"


def choose(images: Bytes, target: Indices, per_class: int) -> Indices:
    """Ascending indices of the `per_class` images of each class with the smallest sha256.

    Args:
        images: (N, ...) uint8.
        target: (N,) class indices.
    """
    rank = sorted(range(len(images)), key=lambda i: hashlib.sha256(images[i].tobytes()).digest())
    ranked = np.array(rank, dtype=np.int64)
    chosen = [ranked[target[ranked] == c][:per_class] for c in np.unique(target)]
    return np.sort(np.concatenate(chosen))


def build(source: Path, folder: Path) -> None:
    """Write the four idx files of fashion-mini into `folder` from the full set in `source`."""
    spec = DATASETS["fashion-mnist"]
    full = spec.read(spec, source)
    train = choose(full.train_images, full.train_target, TRAIN_PER_CLASS)
    test = choose(full.test_images, full.test_target, TEST_PER_CLASS)
    folder.mkdir(parents=True, exist_ok=True)
    write_idx(folder / f"{TRAIN_IMAGES}.gz", full.train_images[train, 0])
    write_idx(folder / f"{TRAIN_TARGET}.gz", full.train_target[train].astype(np.uint8))
    write_idx(folder / f"{TEST_IMAGES}.gz", full.test_images[test, 0])
    write_idx(folder / f"{TEST_TARGET}.gz", full.test_target[test].astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds the full Fashion-MNIST")
    parser.add_argument("--output", type=Path, default=EMBEDDED, help="where to write the four files")
    args = parser.parse_args()
    build(find_dataset(DATASETS["fashion-mnist"], args.data), args.output)


if __name__ == "__main__":
    main()
