"""Which triplets and negatives of a batch count, without a loop over any of them."""

from __future__ import annotations

import torch
from torch import Tensor

NEAREST = 0.5  # closer negatives are drawn as if they were this far away, or their weight would explode
FARTHEST = 1.4  # farther negatives are not drawn: with b = 1.2 and alpha = 0.2 they cost nothing


def distance_log_weights(distance: Tensor, dim: int) -> Tensor:
    r"""Log of 1 / q(D), q the density of distances between random points on the unit sphere.

    .. math:: -\log q(D) = (2 - n) \log D + \tfrac{3 - n}{2} \log(1 - D^2 / 4)

    Args:
        distance: any shape; values below `NEAREST` count as that, values above `FARTHEST` get -inf.
        dim: n, the number of embedding dimensions.

    Source: Wu et al. 2017, Sampling Matters in Deep Embedding Learning, section 4.
    """
    clamped = distance.clamp(NEAREST, FARTHEST)  # also keeps 1 - D^2 / 4 above 0.5
    log_weight = (2 - dim) * clamped.log() + (3 - dim) / 2 * (1 - clamped.square() / 4).log()
    return log_weight.masked_fill(distance > FARTHEST, -torch.inf)


def negative_probabilities(distance: Tensor, other: Tensor, dim: int) -> Tensor:
    """How probable each negative is for each anchor under distance-weighted sampling.

    An anchor whose negatives are all beyond `FARTHEST` draws evenly from them, so that it keeps its positives.

    Args:
        distance: (batch, batch) distances between unit vectors.
        other: (batch, batch) True where the classes differ.
        dim: number of embedding dimensions.

    Returns: (batch, batch), rows sum to one; a row without any negative is even over the batch.
    """
    log_weight = distance_log_weights(distance, dim).masked_fill(~other, -torch.inf)
    in_reach = (log_weight > -torch.inf).any(1, keepdim=True)
    evenly = torch.zeros_like(log_weight).masked_fill(~other & other.any(1, keepdim=True), -torch.inf)
    return torch.where(in_reach, log_weight, evenly).softmax(1)  # softmax takes each row's maximum off first


def draw_negatives(distance: Tensor, other: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    """Draw a negative for every ordered pair of the batch by distance-weighted sampling.

    Drawn on the generator's device, so that a CPU generator gives a GPU the same numbers.

    Returns: (batch, batch) indices; entry (i, j) is the negative for anchor i beside its positive j.
    """
    probabilities = negative_probabilities(distance, other, dim).to(generator.device)
    probabilities = probabilities.nan_to_num(nan=1.0)  # multinomial refuses nan; the distances still show it
    drawn = torch.multinomial(probabilities, len(distance), replacement=True, generator=generator)
    return drawn.to(distance.device)


def all_triplets(same: Tensor, other: Tensor) -> Tensor:
    """Every triplet (anchor, positive, negative) of the batch as a (batch, batch, batch) mask."""
    return same[:, :, None] & other[:, None, :]


def hardest_pairs(squared: Tensor, same: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The farthest positive and the nearest negative of each anchor.

    Returns: both distances (batch,), infinite where there is none, and (batch,) whether the anchor has both.
    """
    positive = squared.masked_fill(~same, -torch.inf).amax(1)
    negative = squared.masked_fill(~other, torch.inf).amin(1)
    return positive, negative, same.any(1) & other.any(1)
