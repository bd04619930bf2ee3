"""Four shapes drawn by arithmetic: a dataset whose answer is known, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lossbench.data.dataset import Arrays, Bytes, DatasetSpec, Indices

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
