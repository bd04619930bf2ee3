"""Distances within a batch of embeddings, with gradients that stay finite where embeddings coincide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def unit_vectors(embeddings: Tensor) -> Tensor:
    """Bring every row to Euclidean length 1, whatever its scale.

    Rows are divided by their largest entry first, so that squaring neither overflows at 1e30 nor vanishes at 1e-30.
    A row of zeros has no direction: it stays zero and gets no gradient.

    Returns: (batch, dim) in float32, or float64 where that came in.
    """
    wide = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    largest = wide.detach().abs().amax(1, keepdim=True)
    zero = largest == 0
    scaled = wide / largest.masked_fill(zero, 1.0)
    return F.normalize(scaled.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)


def pairwise_distances(rows: Tensor, columns: Tensor | None = None) -> Tensor:
    """Euclidean distances between all rows of two matrices (default: of one with itself).

    The differences are formed one by one: the faster |a|^2 + |b|^2 - 2ab loses half of the digits between points
    that are close. The gradient is zero where two points coincide.

    Returns: (rows, columns), >= 0.
    """
    columns = rows if columns is None else columns
    return torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist")


def pair_masks(target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Say which pairs of a batch have the same class (a sample with itself left out), and which another.

    Args:
        target: (batch,) class indices.
        valid: (batch,) False for samples that belong to no pair.

    Returns: two (batch, batch) bool masks.
    """
    same = target[:, None] == target[None, :]
    other = ~same
    same = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
    if valid is None:
        return same, other
    both = valid[:, None] & valid[None, :]
    return same & both, other & both


def share_of_mean(terms: Tensor, count: Tensor, valid: Tensor | None = None) -> Tensor:
    """Add up each anchor's terms, scaled so that their mean over the batch is all terms together over `count`.

    Terms belong to pairs or triplets, not to samples. Shared out this way, `reduction="mean"` is the mean over the
    terms, as the papers define it. Without a term (`count` 0) all is zero and still has a gradient path.

    Args:
        terms: (batch, ...) terms of each anchor.
        count: () how many terms to average over.
        valid: (batch,) False for samples over which the batch mean will not be taken.

    Returns: (batch,).
    """
    batch = len(terms) if valid is None else valid.sum()
    return terms.flatten(1).sum(1) * batch / count.clamp_min(1)  # in this order float64 stays float64


def mean_of_nonzero(terms: Tensor, valid: Tensor | None = None) -> Tensor:
    """Share out the mean over the terms above zero: (batch, ...) to (batch,)."""
    return share_of_mean(terms, (terms > 0).sum(), valid)


def lacks_pairs(embeddings: Tensor, target: Tensor) -> Tensor:
    """Say whether a batch is too small to hold any pair."""
    return torch.full((), len(target) < 2, device=target.device)  # `torch.tensor` would wait for a GPU


def lacks_positives(embeddings: Tensor, target: Tensor) -> Tensor:
    """Say whether no class occurs twice in the batch."""
    same, _ = pair_masks(target)
    return ~same.any()


def lacks_triplets(embeddings: Tensor, target: Tensor) -> Tensor:
    """Say whether no sample has both another one of its class and one of another class."""
    same, other = pair_masks(target)
    return ~(same.any(1) & other.any(1)).any()
