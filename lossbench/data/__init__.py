"""Datasets: what there is, where its files are looked for, and the images in memory.

Everything loads on first use, so that the command line can name its data commands without numpy or torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.doors import on_first_use

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Dataset",
    "DatasetSpec",
    "Split",
    "degrade",
    "hold_out",
    "load",
    "register_dataset",
    "stratified_split",
]

_HOME = {
    "AUGMENTATIONS": "augmentation",
    "DATASETS": "datasets",
    "Dataset": "dataset",
    "DatasetSpec": "dataset",
    "Split": "dataset",
    "degrade": "sampling",
    "load": "loading",
    "register_dataset": "datasets",
    "hold_out": "sampling",
    "stratified_split": "sampling",
}


__getattr__ = on_first_use(__name__, _HOME)


if TYPE_CHECKING:
    from lossbench.data.augmentation import AUGMENTATIONS
    from lossbench.data.dataset import Dataset, DatasetSpec, Split
    from lossbench.data.datasets import DATASETS, register_dataset
    from lossbench.data.loading import load
    from lossbench.data.sampling import degrade, hold_out, stratified_split
