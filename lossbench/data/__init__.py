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
    "register_dataset",
    "stratified_split",
]

_HOME = {
    "AUGMENTATIONS": "lossbench.data.augmentation",
    "DATASETS": "lossbench.data.datasets",
    "Dataset": "lossbench.data.dataset",
    "DatasetSpec": "lossbench.data.dataset",
    "Split": "lossbench.data.dataset",
    "degrade": "lossbench.data.sampling",
    "load": "lossbench.data.loading",
    "register_dataset": "lossbench.data.datasets",
    "stratified_split": "lossbench.data.sampling",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lossbench.data' has no attribute {name!r}")


if TYPE_CHECKING:
    from lossbench.data.augmentation import AUGMENTATIONS
    from lossbench.data.dataset import Dataset, DatasetSpec, Split
    from lossbench.data.datasets import DATASETS, register_dataset
    from lossbench.data.loading import load
    from lossbench.data.sampling import degrade, stratified_split
