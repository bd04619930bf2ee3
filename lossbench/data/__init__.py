"""Datasets: what there is, where its files are looked for, and the images in memory.

Everything loads on first use, so that the command line can name its data commands without numpy or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    "DATASETS": "lossbench.data.registry",
    "Dataset": "lossbench.data.dataset",
    "DatasetSpec": "lossbench.data.dataset",
    "Split": "lossbench.data.dataset",
    "degrade": "lossbench.data.sampling",
    "load": "lossbench.data.loading",
    "stratified_split": "lossbench.data.sampling",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lossbench.data' has no attribute {name!r}")


if TYPE_CHECKING:
    from lossbench.augmentation import AUGMENTATIONS as AUGMENTATIONS
    from lossbench.data.dataset import Dataset as Dataset
    from lossbench.data.dataset import DatasetSpec as DatasetSpec
    from lossbench.data.dataset import Split as Split
    from lossbench.data.loading import load as load
    from lossbench.data.registry import DATASETS as DATASETS
    from lossbench.data.sampling import degrade as degrade
    from lossbench.data.sampling import stratified_split as stratified_split
