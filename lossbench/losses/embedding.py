"""Losses on embeddings: on pairs and triplets of a batch, and on distances to one learned point a class.

A term belongs to a pair or triplet, so the value of a sample is what it contributes as anchor, scaled so that the
mean over the batch is the mean over the terms; with reduction "sum" the loss is that mean times the batch size.
Only terms above zero are averaged: pairs that are already right would otherwise drown the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossbench.losses.catalogue import Context, LossState, register, search, symbol
from lossbench.registry import above, at_least, boolean, one_of

# Distances within a batch of embeddings, with gradients that stay finite where embeddings coincide.


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


# Which triplets and negatives of a batch count, without a loop over any of them.

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


MINING = ("batch_hard", "semi_hard", "all")


@register(colour="sky", events={"batches_without_pairs": lacks_pairs}, origin="surrogate")
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

    Use when: pairs of images are what is known, and neighbours are to be found.
    Avoid when: class probabilities are needed, or batches hold few pairs of one class.
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


@register(colour="green", shown=("mining",), events={"batches_without_pairs": lacks_triplets}, origin="surrogate")
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

    Use when: a ranking of neighbours is wanted, with classes that are not known in advance.
    Avoid when: batches hold a single image of most classes: there is no triplet then.
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


# The margin loss and its sampling of negatives by distance.

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


@register(colour="vermillion", state=MarginState, events={"batches_without_pairs": lacks_triplets}, origin="surrogate")
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

    Use when: neighbours are to be found and all distances shall be comparable across classes.
    Avoid when: its border and its sampling cannot be tuned: both decide what is learned.
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


# The N-pair loss: one pair a class, each pair against the positives of all the others.


@register(title="N-pair", colour="orange", events={"batches_without_pairs": lacks_positives}, origin="surrogate")
def n_pair(
    embeddings: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    norm_weight: Annotated[float, at_least(0.0), search(0.002, 0.2, log=True)] = 0.02,
) -> Tensor:
    r"""Cross-entropy of finding an anchor's own partner among one partner of every class.

    .. math:: L = \text{mean}_i \log\left(1 + \sum_{j \ne i} e^{f_i \cdot f_j^+ - f_i \cdot f_i^+}\right) +
    \frac{\lambda}{2} (\lVert f_i \rVert^2 + \lVert f_i^+ \rVert^2)

    The embeddings keep their length. The anchor and the partner of a class are its first and second sample in the
    batch; its other samples, and classes with one sample, are not used.

    Use when: batches hold pairs of many classes, and each shall be told from all others at once.
    Avoid when: classes are few: most of a batch cannot be used.
    Range: [0, ∞); with one pair alone the first part is 0.
    Gradient: :math:`\sum_j q_j f_j^+ - f_i^+ + \lambda f_i` on the anchor, q the softmax of its products with the
        partners.
    Note: the paper asks for short embeddings without a formula; we take the mean square of the lengths in the pairs
        used, with the weight 0.02.
    Source: Sohn 2016, Improved Deep Metric Learning with Multi-class N-pair Loss Objective (N-pair-mc and its L2
        regularization); named in paper 002, which gives no formula.
    Peers: pytorch-metric-learning (NPairsLoss; normalises unless told not to).

    Args:
        embeddings: (batch, dim); products beyond float32 (lengths above 1e19) overflow.
        target: (batch,) class indices.
        valid: (batch,) False for samples to leave out.
        norm_weight: λ >= 0, weight of the squared lengths.

    Returns: (batch,), the terms at their anchors, scaled so that the mean over the batch is the mean over the pairs.
    """
    used = torch.ones_like(target, dtype=torch.bool) if valid is None else valid
    same = (target[:, None] == target[None, :]) & used
    place = same.tril(-1).sum(1)  # how many of its class come before it
    partner = same & (place == 1)
    anchors = (place == 0) & partner.any(1) & used
    products = embeddings @ embeddings.T
    own = products.gather(1, partner.int().argmax(1, keepdim=True)).squeeze(1)
    columns = (place == 1) & used
    columns = columns | ~columns.any()  # without any pair the values are dropped, but have to stay finite
    surprise = products.masked_fill(~columns, -torch.inf).logsumexp(1) - own
    lengths = products.diagonal()
    partner_length = lengths.gather(0, partner.int().argmax(1))
    terms = torch.where(anchors, surprise + norm_weight * (lengths + partner_length) / 2, 0.0)
    return share_of_mean(terms[:, None], anchors.sum(), valid)


# ProxyNCA: samples are compared with one learned point a class instead of with each other.


class Proxies(LossState):
    """One learnable point a class, drawn from a normal distribution; only its direction matters."""

    def __init__(self, params: Mapping[str, Any], context: Context) -> None:
        super().__init__()
        shape = (context.require("num_classes"), context.require("embedding_dim"))
        if shape[0] < 2:
            raise ValueError(f"{context.loss}: num_classes must be at least 2, got {shape[0]}")
        self.proxies = nn.Parameter(torch.randn(shape, generator=context.generator))
        self.num_classes = shape[0]

    def forward(self) -> dict[str, Tensor]:
        """(classes, dim) proxies."""
        return {"proxies": self.proxies}


def unit_pair(name: str, embeddings: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings and proxies brought to length 1; ValueError where they differ in width."""
    if embeddings.shape[1] != proxies.shape[1]:
        raise ValueError(
            f"{name}: embeddings must have {proxies.shape[1]} columns, as the proxies have, "
            f"got shape {tuple(embeddings.shape)}"
        )
    units = unit_vectors(embeddings)
    return units, unit_vectors(proxies).to(units.dtype)


@register(title="ProxyNCA", colour="purple", state=Proxies, origin="surrogate")
def proxy_nca(
    embeddings: Tensor,
    target: Tensor,
    proxies: Tensor,
    valid: Tensor | None = None,
    *,
    include_target: Annotated[bool, boolean()] = False,
    scale: Annotated[float, above(0.0), search(0.5, 32.0, log=True)] = 1.0,
) -> Tensor:
    r"""Ask each sample to be nearer to the proxy of its class than to the other proxies.

    .. math:: L = s D^2(f, c_t) + \log \sum_{z \ne t} e^{-s D^2(f, c_z)}

    D is the Euclidean distance of embedding and proxy, both brought to length 1. With include_target the sum has the
    target too, which makes it cross-entropy on the scaled cosines.

    Use when: neighbours are to be found without any care for how batches are put together.
    Avoid when: there are more classes than images of each: every one has a vector to be learned.
    Range: [log(C - 1) - 4s, log(C - 1) + 4s], so it can be negative; with include_target from
        :math:`\log(1 + (C - 1) e^{-4s})` to :math:`\log(1 + (C - 1) e^{4s})`.
    Gradient: :math:`2 s (\sum_z q_z c_z - c_t)` on the embedding brought to length 1, q the softmax over the proxies
        in the sum: descent moves it towards its proxy and away from the nearest others.
    Note: at scale 1 the softmax over cosines is nearly flat; later work (ProxyNCA++) takes a larger scale.
    Source: Movshovitz-Attias et al. 2017, No Fuss Distance Metric Learning using Proxies; scale as in
        ProxyNCA++ (Teh et al. 2020); named in paper 002, which gives no formula.
    Peers: pytorch-metric-learning (ProxyNCALoss, which includes the target).

    Args:
        embeddings: (batch, dim).
        target: (batch,) class indices.
        proxies: (classes, dim), at least two classes.
        valid: not used, as no sample looks at another.
        include_target: whether the target's proxy is in the sum.
        scale: s > 0, the inverse temperature.

    Returns: (batch,) loss in nats.

    Raises:
        ValueError: the proxies have another width than the embeddings.
    """
    nearness = -scale * pairwise_distances(*unit_pair("proxy_nca", embeddings, proxies)).square()
    own = nearness.gather(1, target[:, None]).squeeze(1)
    if not include_target:
        is_target = target[:, None] == torch.arange(len(proxies), device=target.device)
        nearness = nearness.masked_fill(is_target, -torch.inf)
    return nearness.logsumexp(1) - own


def margin_softmax(cosines: Tensor, own: Tensor, target: Tensor, scale: float) -> Tensor:
    """Cross-entropy of the scaled cosines with the target's replaced by `own`: (batch,)."""
    index = target[:, None]
    return -(scale * cosines.scatter(1, index, own[:, None])).log_softmax(1).gather(1, index).squeeze(1)


@register(title="angular margin", colour="vermillion", shown=("angle", "margin"), state=Proxies, origin="surrogate")
def angular_margin(
    embeddings: Tensor,
    target: Tensor,
    proxies: Tensor,
    valid: Tensor | None = None,
    *,
    angle: Annotated[float, at_least(0.0, up_to=1.5), search(0.05, 0.5)] = 0.3,
    margin: Annotated[float, at_least(0.0), symbol("m")] = 0.0,
    scale: Annotated[float, above(0.0), search(5.0, 64.0, log=True), symbol("s")] = 16.0,
) -> Tensor:
    r"""Softmax over the cosines to one learned direction a class, the target's made smaller by an angle or a number.

    .. math:: L = -\log \frac{e^{s (\cos(\theta_t + a) - m)}}{e^{s (\cos(\theta_t + a) - m)} + \sum_{j \ne t}
    e^{s \cos \theta_j}}

    :math:`\theta_j` is the angle between the embedding and the direction of class j. With an angle a it is ArcFace,
    with a margin m CosFace, with neither the normalised softmax.

    Use when: faces or products are to be recognised by the angle between embeddings.
    Avoid when: its scale and margin cannot be tuned: they decide whether it learns.
    Range: above :math:`\log(1 + (C - 1) e^{s (m - 2)})`, below :math:`\log(1 + (C - 1) e^{s (m + 3)})`.
    Gradient: with q the softmax of these logits, :math:`s q_j` on each other cosine and
        :math:`-s (1 - q_t) \frac{\sin(\theta_t + a)}{\sin \theta_t}` on the target's.
    At p -> 0: grows with s times the cosines' difference, hence bounded.
    At p -> 1: falls to a lowest value above 0 that s decides.
    Equals: at a 0 and m 0 proxy_nca with include_target at half the scale; for all margins alike, ldam.
    Note: beyond :math:`\theta_t = \pi - a`, where the cosine would rise again, it goes on without a jump as
        :math:`\cos \theta_t + \cos a - 1`; the papers do not say how. Their faces take a 0.5 and s 64; for few classes
        a smaller s already reaches p near 1. Gives no class probabilities: runs are scored as for any embedding.
    Source: ArcFace: Deng et al. 2019, arXiv:1801.07698; CosFace: Wang et al. 2018, arXiv:1801.09414, and Additive
        Margin: arXiv:1801.05599; NormFace: arXiv:1704.06369.
    Peers: pytorch-metric-learning (ArcFaceLoss, CosFaceLoss, NormalizedSoftmaxLoss).

    Args:
        embeddings: (batch, dim).
        target: (batch,) class indices.
        proxies: (classes, dim) directions of the classes, at least two.
        valid: not used, as no sample looks at another.
        angle: a in radians, from 0 to 1.5.
        margin: m >= 0, in units of the cosine.
        scale: s > 0, the inverse temperature.

    Returns: (batch,) loss in nats.

    Raises:
        ValueError: the proxies have another width than the embeddings.
    """
    units, directions = unit_pair("angular_margin", embeddings, proxies)
    cosines = units @ directions.T
    own = cosines.gather(1, target[:, None]).squeeze(1)
    if angle:
        rest, least = 1 - own.square(), torch.finfo(own.dtype).eps
        sine = torch.where(rest > least, rest.clamp(min=least).sqrt(), 0.0)  # the slope of a root at 0 is infinite
        turned = own * math.cos(angle) - sine * math.sin(angle)
        own = torch.where(own > -math.cos(angle), turned, own + math.cos(angle) - 1)
    return margin_softmax(cosines, own - margin, target, scale)


@register(colour="ink", shown=("tau",), events={"batches_without_pairs": lacks_positives}, origin="surrogate")
def supervised_contrastive(
    embeddings: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    tau: Annotated[float, above(0.0), search(0.03, 0.5, log=True), symbol("τ")] = 0.1,
) -> Tensor:
    r"""Cross-entropy of finding the samples of the anchor's class among all others of the batch.

    .. math:: L = \text{mean}_i \frac{-1}{|P_i|} \sum_{p \in P_i} \log \frac{e^{f_i \cdot f_p / \tau}}{\sum_{a \ne i}
    e^{f_i \cdot f_a / \tau}}

    The embeddings are brought to length 1; :math:`P_i` holds the other samples of the anchor's class. The mean is over
    the anchors that have any.

    Use when: batches are large, and an embedding for many later tasks is wanted.
    Avoid when: batches are small, or class probabilities are needed without a second stage.
    Range: [0, :math:`\log(N - 1) + 2 / \tau`), N the size of the batch.
    Gradient: :math:`\frac{1}{\tau} [\sum_a q_a f_a - \frac{1}{|P_i|} \sum_p f_p]` on the anchor brought to length 1,
        q the softmax over all others.
    Note: the softmax has all positives in its sum, so two positives share it: with more than one positive the lowest
        value is log of their number. The sum outside the logarithm is the paper's better form. The paper compares two
        augmented views of each image and trains a classifier afterwards on the frozen embeddings.
    Source: Khosla et al. 2020, Supervised Contrastive Learning, arXiv:2004.11362, eq. 2.
    Peers: pytorch-metric-learning (SupConLoss).

    Args:
        embeddings: (batch, dim).
        target: (batch,) class indices.
        valid: (batch,) False for samples to leave out.
        tau: the temperature, > 0.

    Returns: (batch,), the terms at their anchors, scaled so that the mean over the batch is the mean over the anchors.
    """
    units = unit_vectors(embeddings)
    same, other = pair_masks(target, valid)
    candidates = same | other
    candidates = candidates | ~candidates.any(1, keepdim=True)  # such rows are dropped, but have to stay finite
    nearness = units @ units.T / tau
    log_q = nearness - nearness.masked_fill(~candidates, -torch.inf).logsumexp(1, keepdim=True)
    positives = same.sum(1)
    terms = -torch.where(same, log_q, 0.0).sum(1) / positives.clamp(min=1)
    return share_of_mean(terms[:, None], (positives > 0).sum(), valid)
