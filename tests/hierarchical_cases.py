"""What the tests of hierarchical cross-entropy build and try it on."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from lossbench.losses import Criterion
from lossbench.losses.hierarchical import MODES, NODE_WEIGHTS

NAME = "hierarchical_cross_entropy"
SMALL = {"root": ["left", "c"], "left": ["a", "b"]}  # nodes in this order: a, b, c, left
EVERY = list(itertools.product(MODES, NODE_WEIGHTS))


def build(mode: str = "conditional", **params) -> Criterion:
    return Criterion(NAME, mode=mode, **{"reduction": "none", **params})


def draw(criterion: Criterion, batch: int = 6, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    classes = criterion.num_classes
    logits = torch.randn(batch, criterion.num_outputs(classes), generator=generator, dtype=torch.float64)
    return logits * scale, torch.randint(classes, (batch,), generator=generator)
