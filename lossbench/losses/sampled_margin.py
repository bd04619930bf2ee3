"""The margin loss and its sampling of negatives by distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lossbench.entry import search, symbol
from lossbench.losses.distances import (
    lacks_triplets,
    pair_masks,
    pairwise_distances,
    share_of_mean,
    unit_vectors,
)
from lossbench.losses.mining import draw_negatives
from lossbench.losses.registry import register
from lossbench.losses.state import Context, LossState
from lossbench.registry import above, at_least, boolean, one_of

SAMPLINGS = ("distance_weighted", "all")


class MarginState(LossState):
    """The learnable boundary b, and a random generator that is different in each training step.

    The generator is made anew from a key and the number of steps, so a checkpoint of this module resumes the very
    same draws. In eval() mode the draws are always those of step 0, and no step is counted.
    """

    steps: Tensor

    def __init__(self, params: Mapping[str, Any], context: Context) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.tensor(float(params["b"]))) if params["learn_b"] else None
        # Neighbouring seeds must not share draws at neighbouring steps, hence a key instead of the seed itself.
        self.key = int(torch.randint(2**62, (), generator=context.generator))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self) -> dict[str, Any]:
        """The generator of this step, and b where it is learned."""
        if self.training:
            self.steps += 1
        step = int(self.steps) if self.training else 0
        generator = torch.Generator().manual_seed(self.key + step)
        return {"generator": generator} if self.b is None else {"generator": generator, "b": self.b}


@register(colour="vermillion", state=MarginState, events={"batches_without_pairs": lacks_triplets})
def margin(
    embeddings: Tensor,
    target: Tensor,
    generator: torch.Generator,
    valid: Tensor | None = None,
    *,
    alpha: Annotated[float, at_least(0.0), search(0.05, 0.5), symbol("α")] = 0.2,
    b: Annotated[float | Tensor, above(0.0), search(0.6, 1.6)] = 1.2,
    nu: Annotated[float, at_least(0.0), symbol("ν")] = 0.0,
    learn_b: Annotated[bool, boolean()] = False,
    sampling: Annotated[str, one_of(*SAMPLINGS)] = "distance_weighted",
) -> Tensor:
    r"""Ask pairs of a class to be nearer than a boundary b, others to be farther, each by a margin.

    .. math:: L = \text{mean} \max(0, \alpha + s_{ij} (D_{ij} - b)), \quad s_{ij} = \pm 1

    s is +1 within a class and -1 across; D is the Euclidean distance of the embeddings brought to length 1; the mean
    is over the terms above zero. With learn_b the trainer also learns b, and :math:`\nu b` is added.

    Range: [0, α + max(b, 2 - b)], plus νb where b is learned.
    Gradient: :math:`s_{ij}` along the line between the two for a term above zero, whatever their distance; zero for
        embeddings that coincide.
    Note: distance_weighted draws one negative for each ordered pair of a class, by the inverse of the density of its
        distance; an anchor with all negatives beyond 1.4 draws evenly from them. all takes every triplet instead. In
        many dimensions random unit vectors are about 1.41 apart and nearly all weight falls on the nearest negative.
    Source: Wu et al. 2017, Sampling Matters in Deep Embedding Learning, section 4; named in paper 002, which gives no
        formula.
    Peers: pytorch-metric-learning (MarginLoss, DistanceWeightedMiner).

    Args:
        embeddings: (batch, dim).
        target: (batch,) class indices.
        generator: source of the draws; advanced by the call.
        valid: (batch,) False for samples to leave out.
        alpha: the margin, >= 0.
        b: the boundary, > 0; a 0-d tensor where it is learned.
        nu: weight of b itself, >= 0; only where b is learned.
        learn_b: whether the trainer learns b, starting from the value given.
        sampling: which triplets count.

    Returns: (batch,), each anchor's share, scaled so that the mean over the batch is the mean over the terms.
    """
    distance = pairwise_distances(unit_vectors(embeddings))
    same, other = pair_masks(target, valid)
    if sampling == "all":
        to_negative = distance
        pulls, pushes = same * other.sum(1, keepdim=True), other * same.sum(1, keepdim=True)
    else:
        negatives = draw_negatives(distance.detach(), other, embeddings.shape[1], generator)
        to_negative = distance.gather(1, negatives)
        pulls = pushes = same & other.any(1, keepdim=True)
    pull, push = (alpha + distance - b).relu(), (alpha - to_negative + b).relu()
    count = ((pull > 0) * pulls).sum() + ((push > 0) * pushes).sum()
    values = share_of_mean(pull * pulls + push * pushes, count, valid)
    return values + nu * b * (count > 0) if learn_b else values
