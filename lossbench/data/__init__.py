"""Datasets: what there is, where its files are looked for, and the images in memory.

What needs torch loads on first use, so that naming the datasets stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lossbench.data.dataset import Dataset, DatasetSpec, Split
from lossbench.data.loading import load
from lossbench.data.registry import DATASETS

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Dataset",
    "DatasetSpec",
    "Split",
    "degrade",
    "load",
    "stratified_split",
]

_HOME = {
    "AUGMENTATIONS": "lossbench.augmentation",
    "degrade": "lossbench.data.sampling",
    "stratified_split": "lossbench.data.sampling",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lossbench.data' has no attribute {name!r}")


if TYPE_CHECKING:
    from lossbench.augmentation import AUGMENTATIONS as AUGMENTATIONS
    from lossbench.data.sampling import degrade as degrade
    from lossbench.data.sampling import stratified_split as stratified_split
