"""Losses on logits with inputs that fit them, for tests that run over the whole registry."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lossbench.losses import LOSSES, Criterion
from lossbench.losses.probabilities import PROBABILITIES

# The losses of the papers, in the order in which they are taught. A new loss needs no place here.
TAUGHT = [
    "cross_entropy",
    "kl_divergence",
    "js_divergence",
    "focal",
    "adma",
    "mse",
    "squared_hinge",
    "sampling_free",
    "false_positive",
    "confidence_penalty",
    "hierarchical_cross_entropy",
    "contrastive",
    "triplet",
    "margin",
    "n_pair",
    "proxy_nca",
]
ON_LOGITS = [name for name, entry in LOSSES.items() if entry.takes == "logits"]
SOFT = [name for name in ON_LOGITS if LOSSES[name].soft_target != "no"]

# Every loss with its defaults, and with each choice that takes another path through its code.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ON_LOGITS),
    ("js_divergence", {"sqrt": True}),
    ("focal", {"gamma": 0.0}),
    ("focal", {"gamma": 0.5}),
    ("adma", {"normalize": True}),
    ("adma", {"learnable": True}),
    ("squared_hinge", {"on": "logits"}),
    ("sampling_free", {"variant": "scale"}),
    ("sampling_free", {"variant": "inner", "gamma": 0.5}),
    ("sampling_free", {"variant": "star"}),
    ("sampling_free", {"beta": 1.0, "gamma": 0.0}),
    ("false_positive", {"form": "mse"}),
    ("false_positive", {"alpha": "none", "top_k": 3}),
    ("false_positive", {"top_k": 3, "aggregate": "mean"}),
    ("false_positive", {"top_k": 3, "aggregate": "median"}),
    ("confidence_penalty", {"lam": 0.0}),
    ("hierarchical_cross_entropy", {"mode": "leaf", "node_weight": "exp"}),
    ("hierarchical_cross_entropy", {"mode": "flat_nodes"}),
    ("label_smoothing", {"epsilon": 0.0}),
    ("logit_norm", {"tau": 1.0}),
    ("taylor_cross_entropy", {"order": 1}),
    ("generalized_cross_entropy", {"q": 1.0}),
    ("generalized_js", {"share": 0.9}),
    ("binary_cross_entropy", {"aggregate": "mean"}),
    ("square_loss", {"goal": 5.0, "factor": 3.0}),
    ("multi_margin", {"aggregate": "max"}),
    ("logit_adjusted", {"tau": 0.0}),
    ("bi_tempered", {"t1": 0.0}),
    ("bi_tempered", {"t1": 1.0}),
    ("asymmetric", {"gamma_target": 1.0, "gamma_rest": 0.0}),
    ("asymmetric", {"epsilon": 0.0}),
]
# Each with softmax and with another probability function in turn: of either a loss sees no more than log-probabilities.
OTHERS = [name for name in PROBABILITIES if name != "softmax"]
PAIRS = [
    (*variant, probability)
    for place, variant in enumerate(VARIANTS)
    for probability in ("softmax", OTHERS[place % len(OTHERS)])
]


def name_of(value: object) -> str | None:
    """A readable id for a parametrised test."""
    if isinstance(value, dict):
        return ",".join(f"{key}={choice}" for key, choice in value.items()) or "defaults"
    return None


COUNTED = {"logit_adjusted", "ldam"}  # they know how many samples each class has
PROXIED = {"proxy_nca", "angular_margin", "ldam"}  # they own a learned point a class


def context_of(name: str, classes: int, dim: int = 8) -> dict[str, Any]:
    """What the loss must know of a task with this many classes: their sizes, 1, 2, 3, ..."""
    context: dict[str, Any] = {"class_counts": range(1, classes + 1)} if name in COUNTED else {}
    return context | ({"num_classes": classes, "embedding_dim": dim} if name in PROXIED else {})


class Problem(NamedTuple):
    """A criterion with logits and target that fit it."""

    criterion: Criterion
    logits: Tensor
    target: Tensor


def make_problem(
    name: str,
    params: dict[str, Any] | None = None,
    *,
    batch: int = 6,
    classes: int = 5,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    scale: float = 2.0,
    **options: Any,
) -> Problem:
    """Random logits and targets; a loss with a layout of its own (a tree) decides the number of classes."""
    criterion = Criterion(name, **{**context_of(name, classes), **(params or {}), **options})
    classes = criterion.num_classes or classes
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(batch, criterion.num_outputs(classes), generator=generator, dtype=dtype)
    return Problem(criterion, logits, torch.randint(classes, (batch,), generator=generator))


def soft_targets(target: Tensor, classes: int, seed: int = 0) -> Tensor:
    """Random class probabilities in float64, one row the one-hot of its target."""
    generator = torch.Generator().manual_seed(seed)
    soft = torch.rand(len(target), classes, generator=generator, dtype=torch.float64).softmax(1)
    soft[0] = torch.nn.functional.one_hot(target[0], classes)
    return soft


# The losses on embeddings with the hyperparameters that change what they compute, and a batch to try them on.

ON_EMBEDDINGS = [name for name, entry in LOSSES.items() if entry.takes == "embeddings"]
EMBEDDING_VARIANTS = [
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
    ("angular_margin", {}),
    ("angular_margin", {"angle": 0.0, "margin": 0.3}),
    ("supervised_contrastive", {}),
    ("ldam", {}),
]
IDS = [" ".join([name, *map(str, params.values())]) for name, params in EMBEDDING_VARIANTS]
IN_PAIRS = [(name, params) for name, params in EMBEDDING_VARIANTS if name not in PROXIED]
NORMALISED = [(name, params) for name, params in EMBEDDING_VARIANTS if name != "n_pair"]
DETERMINISTIC = [
    (name, params) for name, params in EMBEDDING_VARIANTS if name != "margin" or params.get("sampling") == "all"
]
EVERY_LOSS = pytest.mark.parametrize(("name", "params"), EMBEDDING_VARIANTS, ids=IDS)


def build(name: str, dim: int = 8, classes: int = 10, **params) -> Criterion:
    return Criterion(name, **{"reduction": "none", **context_of(name, classes, dim), **params})


def draw(batch: int = 12, dim: int = 8, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(classes, (batch,), generator=generator)
