"""The losses on embeddings with the hyperparameters that change what they compute, and a batch to try them on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lossbench.losses import LOSSES, Criterion

ON_EMBEDDINGS = [name for name, entry in LOSSES.items() if entry.takes == "embeddings"]
VARIANTS = [
    ("contrastive", {}),
    ("triplet", {"mining": "batch_hard"}),
    ("triplet", {"mining": "semi_hard"}),
    ("triplet", {"mining": "all"}),
    ("margin", {"sampling": "distance_weighted"}),
    ("margin", {"sampling": "all"}),
    ("margin", {"learn_b": True, "nu": 0.1}),
    ("n_pair", {}),
    ("proxy_nca", {}),
    ("proxy_nca", {"include_target": True, "scale": 9.0}),
]
IDS = [" ".join([name, *map(str, params.values())]) for name, params in VARIANTS]
IN_PAIRS = [(name, params) for name, params in VARIANTS if name != "proxy_nca"]
NORMALISED = [(name, params) for name, params in VARIANTS if name != "n_pair"]
DETERMINISTIC = [(name, params) for name, params in VARIANTS if name != "margin" or params.get("sampling") == "all"]
EVERY_LOSS = pytest.mark.parametrize(("name", "params"), VARIANTS, ids=IDS)


def build(name: str, dim: int = 8, classes: int = 10, **params) -> Criterion:
    context = {"num_classes": classes, "embedding_dim": dim} if name == "proxy_nca" else {}
    return Criterion(name, **{"reduction": "none", **context, **params})


def draw(batch: int = 12, dim: int = 8, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(classes, (batch,), generator=generator)
