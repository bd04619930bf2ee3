"""Images a second of the batched augmentations against the same torchvision transforms on PIL images, side by side.

Run `python -m benchmarks.augmentation`. Both sides go from uint8 in memory to a float batch on one thread; rounds take
turns, and the fastest and the median round of each side are given, since other work can only slow a round.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as T

from lossbench.data import load
from lossbench.data.augmentation import AUGMENTATIONS

THEIRS = {
    "thesis": [
        T.RandomHorizontalFlip(),
        T.RandomVerticalFlip(),
        T.RandomApply([T.RandomAffine(90, scale=(0.8, 1.2))], 0.9),
        T.RandomApply([T.ColorJitter(0.2, 0.2, 0.2, 0.2)], 0.4),
    ],
    "adma_mnist": [T.RandomAffine(30, translate=(0.2, 0.2), interpolation=T.InterpolationMode.BILINEAR)],
    "adma_cifar10": [
        T.RandomHorizontalFlip(),
        T.RandomAffine(
            0,
            translate=(0.2, 0.2),
            shear=math.degrees(math.atan(0.2)),
            interpolation=T.InterpolationMode.BILINEAR,
        ),
    ],
    "adma_cifar100": [
        T.RandomHorizontalFlip(),
        T.RandomAffine(15, translate=(0.1, 0.1), interpolation=T.InterpolationMode.BILINEAR),
    ],
}


def time_call(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(name: str, images: Tensor, rounds: int, batch_size: int) -> list[tuple[float, float]]:
    """Seconds of each round of both sides, (rounds, 2)."""
    generator = torch.Generator().manual_seed(0)
    transform = T.Compose([*THEIRS[name], T.ToTensor()])
    pictures = [Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()) for image in images]

    def batched() -> None:
        for start in range(0, len(images), batch_size):
            AUGMENTATIONS[name](images[start : start + batch_size].float() / 255, generator)

    def one_by_one() -> None:
        for start in range(0, len(images), batch_size):
            torch.stack([transform(picture) for picture in pictures[start : start + batch_size]])

    batched()
    one_by_one()
    return [(time_call(batched), time_call(one_by_one)) for _ in range(rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    grey = load("fashion-mini").train.images[:1024]
    colour = torch.nn.functional.interpolate(grey.repeat(1, 3, 1, 1), size=(32, 32))
    print(f"{'augmentation':<15}{'images':<10}{'batched/s':>11}{'PIL/s':>9}{'ratio':>7}{'of medians':>12}")
    for name in THEIRS:
        for images in (grey, colour):
            sides = list(zip(*compare(name, images, args.rounds, args.batch_size), strict=True))
            ours, theirs = (len(images) / min(seconds) for seconds in sides)
            of_medians = statistics.median(sides[1]) / statistics.median(sides[0])
            shape = "x".join(map(str, images.shape[1:]))
            row = f"{name:<15}{shape:<10}{ours:>11,.0f}{theirs:>9,.0f}{ours / theirs:>7.1f}{of_medians:>12.1f}"
            print(row)


if __name__ == "__main__":
    main()
