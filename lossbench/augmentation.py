"""Augmentations of a whole batch at once, each image with random parameters of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images as they are."""
    return images


AUGMENTATIONS: dict[str, Augmentation] = {"none": none}
