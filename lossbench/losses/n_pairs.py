"""The N-pair loss: one pair a class, each pair against the positives of all the others."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from lossbench.entry import search
from lossbench.losses.distances import lacks_positives, share_of_mean
from lossbench.losses.registry import register
from lossbench.registry import at_least


@register(title="N-pair", colour="orange", events={"batches_without_pairs": lacks_positives})
def n_pair(
    embeddings: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    norm_weight: Annotated[float, at_least(0.0), search(0.002, 0.2, log=True)] = 0.02,
) -> Tensor:
    r"""Cross-entropy of finding an anchor's own partner among one partner of every class.

    .. math:: L = \text{mean}_i \log\left(1 + \sum_{j \ne i} e^{f_i \cdot f_j^+ - f_i \cdot f_i^+}\right) + \frac{\lambda}{2} (\lVert f_i \rVert^2 + \lVert f_i^+ \rVert^2)

    The embeddings keep their length. The anchor and the partner of a class are its first and second sample in the
    batch; its other samples, and classes with one sample, are not used.

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
    """  # noqa: E501
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
