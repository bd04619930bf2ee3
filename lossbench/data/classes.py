"""The classes of each dataset, in the order of their indices."""

from __future__ import annotations

from lossbench.class_trees import CIFAR_10_CLASSES, CIFAR_100, CIFAR_100_CLASSES, FASHION_MNIST_CLASSES

FASHION = FASHION_MNIST_CLASSES
DIGITS = tuple("0123456789")
KMNIST = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
SKIN = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SHAPES = ("square", "disc", "cross", "ring")
CIFAR_100_GROUPS = tuple(CIFAR_100["root"])

__all__ = [
    "CIFAR_10_CLASSES",
    "CIFAR_100_CLASSES",
    "CIFAR_100_GROUPS",
    "DIGITS",
    "FASHION",
    "FLOWERS",
    "KMNIST",
    "SHAPES",
    "SKIN",
]
