"""Losses that know how many samples each class has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from lossbench.losses.catalogue import Context, LossState, register, search, slider, symbol
from lossbench.losses.classification import of_target, over_target
from lossbench.losses.embedding import Proxies, margin_softmax, unit_pair
from lossbench.registry import above, at_least

BETA = 0.9999  # of LDAM's deferred weights: they stop falling at about 1 / (1 - BETA) samples


class Counts(LossState):
    """Each class's number of training samples; one without a sample counts as one with a single one."""

    def __init__(self, params: Mapping[str, Any], context: Context) -> None:
        super().__init__()
        self.register_buffer("counts", context.counts().clamp(min=1).float())

    def forward(self) -> dict[str, Tensor]:
        """(classes,) counts."""
        return {"counts": self.get_buffer("counts")}


@register(
    title="logit adjustment", colour="ink", shown=("tau",), state=Counts, soft_target="by_class", origin="surrogate"
)
def logit_adjusted(
    log_probs: Tensor,
    target: Tensor,
    counts: Tensor,
    *,
    tau: Annotated[float, at_least(0.0), slider(0.0, 2.0, 0.1), search(0.1, 2.0), symbol("τ")] = 1.0,
) -> Tensor:
    r"""Cross-entropy after each class's probability is multiplied by its share of the training set.

    .. math:: L = -\log \frac{p_t \pi_t^\tau}{\sum_k p_k \pi_k^\tau}

    Use when: classes are unequal in training and equal where it counts.
    Avoid when: the test images are as unequal as the training images: it trades their accuracy away.
    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = a_j - Y_j`, a being the adjusted probabilities.
    At p -> 0: grows without bound as -log p.
    At p -> 1: falls to 0, for a rare class later than cross_entropy: it has to be believed more.
    Equals: cross_entropy of :math:`z + \tau \log \pi`; cross_entropy at τ 0 and where all classes are equally large; at
        τ 1 it is Ren et al.'s balanced softmax.
    Note: the adjustment is for training. Predictions and scores come from the logits without it, which is what moves
        them towards the rare classes; do not add it again. Needs class_counts, which `run` gives.
    Source: Menon et al. 2020, Long-tail learning via logit adjustment, arXiv:2007.07314, eq. 10; Ren et al. 2020,
        Balanced Meta-Softmax, arXiv:2007.10740.
    Peers: none in torch, timm, optax or Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        counts: (classes,) number of training samples, at least 1.
        tau: τ, how much of the imbalance is taken out, >= 0.

    Returns: (batch,) loss in nats.
    """
    adjusted = (log_probs + tau * counts.to(log_probs.dtype).log()).log_softmax(1)  # their sum cancels
    return over_target(-of_target(adjusted, target), target)


class ProxiesAndCounts(Proxies):
    """One learnable direction a class, and each class's number of training samples."""

    def __init__(self, params: Mapping[str, Any], context: Context) -> None:
        super().__init__(params, context)
        self.of_classes = Counts(params, context)

    def forward(self) -> dict[str, Tensor]:
        """(classes, dim) proxies and (classes,) counts."""
        return {**super().forward(), **self.of_classes()}


@register(title="LDAM", colour="sky", shown=("margin",), state=ProxiesAndCounts, origin="surrogate")
def ldam(
    embeddings: Tensor,
    target: Tensor,
    proxies: Tensor,
    counts: Tensor,
    valid: Tensor | None = None,
    epoch: Tensor | None = None,
    epochs: Tensor | None = None,
    *,
    margin: Annotated[float, at_least(0.0), search(0.1, 1.0), symbol("m")] = 0.5,
    scale: Annotated[float, above(0.0), search(5.0, 64.0, log=True), symbol("s")] = 30.0,
    defer: Annotated[float, at_least(0.0, up_to=1.0)] = 1.0,
) -> Tensor:
    r"""Softmax over the cosines to one learned direction a class, with a larger margin for a rarer class.

    .. math:: L = -\log \frac{e^{s (\cos \theta_t - m_t)}}{e^{s (\cos \theta_t - m_t)} + \sum_{j \ne t}
    e^{s \cos \theta_j}}, \quad m_k = m \left(\frac{\min n}{n_k}\right)^{1/4}

    Use when: classes are very unequal, and the rare ones shall have room.
    Avoid when: the embeddings shall have a length that means something: it sees their directions only.
    Range: above :math:`\log(1 + (C - 1) e^{-2 s})`, below :math:`\log(1 + (C - 1) e^{s (m + 2)})`.
    Gradient: with q the softmax of these logits, :math:`s (q_j - Y_j)` on each cosine.
    At p -> 0: grows with s times the cosines' difference, hence bounded.
    At p -> 1: falls to a lowest value above 0 that s decides.
    Equals: angular_margin with this margin and no angle where all classes are equally large.
    Note: with defer below 1 the classes are weighed in the epochs after that share of all (DRW), by
        :math:`(1 - \beta) / (1 - \beta^n)` with β 0.9999, brought to a mean of 1; the paper defers until 0.8 of the
        training. Needs class_counts, which `run` gives; a class without a sample counts as one with a single one.
    Source: Cao et al. 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, arXiv:1906.07413.
    Peers: none in torch, timm, optax or Keras.

    Args:
        embeddings: (batch, dim).
        target: (batch,) class indices.
        proxies: (classes, dim) directions of the classes, at least two.
        counts: (classes,) number of training samples, at least 1.
        valid: not used, as no sample looks at another.
        epoch, epochs: 0-d, which epoch of how many; only with defer below 1.
        margin: m >= 0 of the rarest class, in units of the cosine.
        scale: s > 0, the inverse temperature.
        defer: the share of the epochs before the classes are weighed; 1 never weighs them.

    Returns: (batch,) loss in nats.

    Raises:
        ValueError: the proxies have another width than the embeddings, or the epoch is missing.
    """
    units, directions = unit_pair("ldam", embeddings, proxies)
    cosines = units @ directions.T
    rarest = (counts.min() / counts.to(cosines.dtype)) ** 0.25
    own = cosines.gather(1, target[:, None]).squeeze(1) - margin * rarest[target]
    loss = margin_softmax(cosines, own, target, scale)
    if defer == 1:
        return loss
    if epoch is None or epochs is None:
        raise ValueError(
            f"ldam with defer={defer:g} follows the epochs: call criterion.set_epoch(epoch, epochs) in each"
        )
    weight = 1 / -torch.expm1(counts.to(loss.dtype) * math.log(BETA))
    return loss * torch.where(epoch > defer * epochs, weight / weight.mean(), 1.0)[target]
