"""Losses on pairs and triplets of embeddings: contrastive and triplet.

A term belongs to a pair or triplet, so the value of a sample is what it contributes as anchor, scaled so that the
mean over the batch is the mean over the terms; with reduction "sum" the loss is that mean times the batch size.
Only terms above zero are averaged: pairs that are already right would otherwise drown the others.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from lossbench.entry import search, symbol
from lossbench.losses.distances import (
    lacks_pairs,
    lacks_triplets,
    mean_of_nonzero,
    pair_masks,
    pairwise_distances,
    unit_vectors,
)
from lossbench.losses.mining import all_triplets, hardest_pairs
from lossbench.losses.registry import register
from lossbench.registry import above, one_of

MINING = ("batch_hard", "semi_hard", "all")


@register(colour="sky", events={"batches_without_pairs": lacks_pairs})
def contrastive(
    embeddings: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    margin: Annotated[float, above(0.0), search(0.2, 2.0), symbol("m")] = 1.0,
) -> Tensor:
    r"""Pull samples of a class together, push others apart until they are a margin away.

    .. math:: L = \text{mean}_{y_i = y_j} D_{ij}^2 + \text{mean}_{y_i \ne y_j} \max(0, m - D_{ij})^2

    D is the Euclidean distance of the embeddings brought to length 1; both means are over the terms above zero.

    Range: [0, 4 + m²], as unit vectors are at most 2 apart.
    Gradient: :math:`2 D` along the line between the two for a pair of one class, :math:`-2 (m - D)` for another pair
        within the margin; zero for embeddings that coincide, so a wrong pair that has collapsed stays collapsed.
    Note: a batch with one class only pulls, a batch without a repeated class only pushes.
    Source: Hadsell, Chopra and LeCun 2006, Dimensionality Reduction by Learning an Invariant Mapping, eq. 4, without
        its factor 1/2; named in paper 002, which gives no formula.
    Peers: pytorch-metric-learning (ContrastiveLoss, which does not square the distances).

    Args:
        embeddings: (batch, dim).
        target: (batch,) class indices.
        valid: (batch,) False for samples to leave out.
        margin: m > 0; unit vectors are at most 2 apart.

    Returns: (batch,), see the head of this file.
    """
    distance = pairwise_distances(unit_vectors(embeddings))
    same, other = pair_masks(target, valid)
    pull = distance.square() * same
    push = (margin - distance).relu().square() * other
    return mean_of_nonzero(pull, valid) + mean_of_nonzero(push, valid)


@register(colour="green", shown=("mining",), events={"batches_without_pairs": lacks_triplets})
def triplet(
    embeddings: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    margin: Annotated[float, above(0.0), search(0.05, 1.0, log=True), symbol("m")] = 0.2,
    mining: Annotated[str, one_of(*MINING)] = "batch_hard",
) -> Tensor:
    r"""Ask each anchor to be nearer to its own class than to another class, by a margin.

    .. math:: L = \text{mean} \max(0, D_{ap}^2 - D_{an}^2 + m)

    D is the Euclidean distance of the embeddings brought to length 1; the mean is over the terms above zero.

    Range: [0, 4 + m].
    Gradient: :math:`2 (f_n - f_p)` on the anchor of a term above zero (before the embeddings' length is fixed), zero
        for the others. Zero at D = 0, without a kink there, because the distances are squared.
    Note: batch_hard takes the farthest positive and the nearest negative of each anchor; semi_hard all triplets with
        :math:`D_{ap}^2 < D_{an}^2 \le D_{ap}^2 + m`; all takes every triplet. The last two need memory for batch³
        numbers.
    Source: Schroff, Kalenichenko and Philbin 2015, FaceNet, eq. 3; batch-hard: Hermans, Beyer and Leibe 2017,
        arXiv:1703.07737, eq. 5; named in paper 002, which gives no formula.
    Peers: pytorch-metric-learning (TripletMarginLoss with LpDistance(power=2)), torch (nn.TripletMarginLoss, on given
        triplets, unsquared).

    Args:
        embeddings: (batch, dim).
        target: (batch,) class indices.
        valid: (batch,) False for samples to leave out.
        margin: m > 0, in units of the squared distance.
        mining: which triplets count.

    Returns: (batch,), see the head of this file.
    """
    squared = pairwise_distances(unit_vectors(embeddings)).square()
    same, other = pair_masks(target, valid)
    if mining == "batch_hard":
        positive, negative, has_both = hardest_pairs(squared, same, other)
        excess = torch.where(has_both, positive - negative + margin, 0.0)
        return mean_of_nonzero(excess.relu()[:, None], valid)
    excess = squared[:, :, None] - squared[:, None, :] + margin
    taken = all_triplets(same, other)
    if mining == "semi_hard":
        taken = taken & (squared[:, :, None] < squared[:, None, :])
    return mean_of_nonzero(excess.relu() * taken, valid)
