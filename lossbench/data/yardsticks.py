"""What an accuracy is held against: that of no training at all, and the best that is published for a network's size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

# Family of data sets -> the beginnings of its variants' names, besides its own name and what begins with it and "-".
VARIANTS = {"fashion-mnist": ("fashion-mini",)}
OTHER_CLASSES = ("cifar-100-coarse",)  # begin like a family, and are another task

# Test accuracy without a network: the larger of that of the nearest class mean of raw pixels, over all training images,
# and of always naming the commonest class (ham10000). A network below it has learned nothing worth comparing.
UNTRAINED = {
    "mnist": 0.820,
    "fashion-mnist": 0.677,
    "kmnist": 0.606,
    "cifar-10": 0.278,
    "cifar-100": 0.100,
    "flowers": 0.367,
    "ham10000": 0.722,
}

# A network counts as of a published one's size from 1 / SIZE to SIZE times its number of parameters.
SIZE = 1.5


@dataclass(frozen=True)
class Known:
    """A published test accuracy of a network with so many parameters, trained on all images of a data set."""

    parameters: float
    accuracy: float
    source: str


_FASHION = "README of github.com/zalandoresearch/fashion-mnist"
_CIFAR = "README of github.com/chenyaofo/pytorch-cifar-models"
BEST_KNOWN: dict[str, tuple[Known, ...]] = {
    "mnist": (
        Known(0.1e6, 0.992, f"2 convolutions, below 100,000 parameters, {_FASHION}"),
        Known(0.113e6, 0.993, f"2 convolutions, 113,000 parameters, {_FASHION}"),
    ),
    "fashion-mnist": (
        Known(0.1e6, 0.925, f"2 convolutions, below 100,000 parameters, {_FASHION}"),
        Known(0.113e6, 0.922, f"2 convolutions, 113,000 parameters, {_FASHION}"),
        Known(0.768e6, 0.954, f"DenseNet-BC, {_FASHION}"),
        Known(11.2e6, 0.949, f"ResNet18, {_FASHION}"),
    ),
    "cifar-10": (
        Known(0.27e6, 0.9260, f"ResNet-20, {_CIFAR}"),
        Known(0.47e6, 0.9353, f"ResNet-32, {_CIFAR}"),
        Known(0.86e6, 0.9437, f"ResNet-56, {_CIFAR}"),
        Known(11.2e6, 0.9302, "ResNet18, README of github.com/kuangliu/pytorch-cifar"),
    ),
    "cifar-100": (
        Known(0.28e6, 0.6883, f"ResNet-20, {_CIFAR}"),
        Known(0.47e6, 0.7016, f"ResNet-32, {_CIFAR}"),
        Known(0.86e6, 0.7263, f"ResNet-56, {_CIFAR}"),
    ),
}


def belongs(dataset: str, family: str) -> bool:
    """Whether a data set is one of a family: `cifar-10-jpeg` is of `cifar-10`, `cifar-100` is not."""
    names = (family, *VARIANTS.get(family, ()))
    return dataset not in OTHER_CLASSES and any(dataset == name or dataset.startswith(f"{name}-") for name in names)


def chance_level(dataset: str, images: float) -> float:
    """Three standard errors above one over the number of classes, on so many test images; 0 where that is unknown."""
    classes = _count_classes(dataset)
    if not classes or not images > 0:
        return 0.0
    return 1 / classes + 3 * math.sqrt((1 - 1 / classes) / classes / images)


def untrained_accuracy(dataset: str, images: float = math.nan) -> float:
    """The test accuracy that a network has to pass to have learned something: `UNTRAINED`, else `chance_level`."""
    known = (bar for family, bar in UNTRAINED.items() if belongs(dataset, family))
    return next(known, chance_level(dataset, images))


def best_known(dataset: str, parameters: float) -> Known | None:
    """The best published accuracy of a network of this size on a data set of this family; None where none is known.

    It is for all training images of the family's whole data set: runs on fewer of them cannot be expected to reach it.
    """
    rows = (row for family, table in BEST_KNOWN.items() if belongs(dataset, family) for row in table)
    alike = [row for row in rows if 1 / SIZE <= row.parameters / max(parameters, 1) <= SIZE]
    return max(alike, key=lambda row: row.accuracy, default=None)


@cache
def _count_classes(dataset: str) -> int:
    from lossbench.data.loading import find_spec

    try:
        return len(find_spec(dataset).class_names)
    except (ValueError, OSError):
        return 0
