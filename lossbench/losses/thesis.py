"""The losses that paper 000 compares: cross-entropy, the two divergences, focal."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from lossbench.entry import search, slider, symbol
from lossbench.losses.primitives import log1m, of_target, over_target
from lossbench.losses.registry import register
from lossbench.registry import at_least, boolean


@register(title="cross-entropy", colour="ink", soft_target="by_class")
def cross_entropy(log_probs: Tensor, target: Tensor) -> Tensor:
    r"""Surprise at the target: how many nats the model needs to name it.

    .. math:: L = -\log p_t

    Range: [0, ∞); for class probabilities q as target, at least their entropy H(q).
    Gradient: :math:`\partial L / \partial z_j = p_j - Y_j` on the softmax logits.
    At p -> 0: grows without bound as -log p; the gradient on the target's logit tends to -1.
    At p -> 1: falls to 0 like 1 - p, and so does the gradient.
    Equals: kl_divergence exactly, for class indices as target; with class probabilities q it is kl_divergence
        + H(q).
    Source: paper 000, eq. 1.11 (printed as a sum from 0; read 1 to n).
    Peers: torch (nn.CrossEntropyLoss), timm (SoftTargetCrossEntropy).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) loss in nats.
    """
    return over_target(-of_target(log_probs, target), target)


@register(title="KL divergence", colour="sky", soft_target="whole")
def kl_divergence(log_probs: Tensor, target: Tensor) -> Tensor:
    r"""Extra nats paid for believing p when the target distribution is q.

    .. math:: L = \sum_i q_i \log \frac{q_i}{p_i}

    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = p_j - q_j` on the softmax logits.
    At p -> 0: as cross_entropy.
    At p -> 1: as cross_entropy.
    Equals: cross_entropy exactly, in value and gradient, for class indices as target; with class
        probabilities q it is cross_entropy - H(q), a constant less.
    Note: eq. 3.3 of paper 000 prints a leading minus, whose minimisation would drive the target's probability
        to 0.
    Source: Kullback and Leibler 1951; paper 000, eq. 3.3 with its sign corrected.
    Peers: torch (nn.KLDivLoss; reduction="batchmean" is our mean).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) loss in nats.
    """
    cross = over_target(-of_target(log_probs, target), target)
    if target.dim() == 2:
        return torch.xlogy(target, target).sum(1) + cross
    return cross  # q is one-hot: its entropy is 0


@register(title="JS divergence", colour="vermillion", soft_target="whole")
def js_divergence(log_probs: Tensor, target: Tensor, *, sqrt: Annotated[bool, boolean()] = False) -> Tensor:
    r"""Symmetric, bounded divergence between the target distribution q and p.

    .. math:: L = \frac{1}{2} KL(q \| m) + \frac{1}{2} KL(p \| m), \quad m = \frac{p + q}{2}

    Range: [0, log 2].
    Gradient: :math:`\partial L / \partial z_j = \frac{p_t}{2} \log \frac{p_t}{1 + p_t} (Y_j - p_j)` for class
        indices.
    At p -> 0: levels off at log 2 and the gradient vanishes: samples the model gets very wrong are given up.
    At p -> 1: falls to 0 like (1 - p) (log 2) / 2.
    Equals: for class indices it depends on :math:`p_t` alone:
        :math:`\log 2 - \frac{1}{2} (1 + p_t) \log(1 + p_t) + \frac{1}{2} p_t \log p_t`.
    Note: not timm's JsdCrossEntropy, which compares predictions for augmented copies of an image.
    Source: Lin 1991; paper 000, eq. 3.4, without the square root that its text mentions (sqrt=True takes it).
    Peers: scipy (distance.jensenshannon, which is the square root).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        sqrt: take the square root, which is a metric; 1e-12 under the root keeps its gradient finite at 0.

    Returns: (batch,) loss in nats (with sqrt: their square root).
    """
    divergence = _js_to_class(log_probs, target) if target.dim() == 1 else _js_to_soft(log_probs, target)
    return (divergence + 1e-12).sqrt() if sqrt else divergence


def _js_to_class(log_probs: Tensor, target: Tensor) -> Tensor:
    log_p = of_target(log_probs, target)
    miss = -torch.expm1(log_p)  # 1 - p without cancellation; every term below is of its size near p = 1
    log_middle = torch.log1p(-miss / 2)  # log((1 + p) / 2)
    p = log_p.exp()
    return (p * log_p - (1 + p) * log_middle + math.log(2) * miss) / 2


def _js_to_soft(log_probs: Tensor, target: Tensor) -> Tensor:
    log_middle = torch.logaddexp(log_probs, target.log()) - math.log(2)
    to_target = torch.xlogy(target, target) - target * log_middle
    to_model = log_probs.exp() * (log_probs - log_middle)
    return (to_target + to_model).sum(1) / 2


@register(colour="green", shown=("gamma",), soft_target="by_class")
def focal(
    log_probs: Tensor,
    target: Tensor,
    *,
    gamma: Annotated[float, at_least(0.0), slider(0.0, 5.0, 0.1), search(0.5, 5.0), symbol("γ")] = 2.0,
) -> Tensor:
    r"""Cross-entropy that fades on samples the model already gets right.

    .. math:: L = -(1 - p_t)^\gamma \log p_t

    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = -[(1-p_t)^\gamma - \gamma p_t (1-p_t)^{\gamma-1} \log p_t]
        (Y_j - p_j)`
    At p -> 0: as cross_entropy.
    At p -> 1: falls to 0 like :math:`(1-p)^{\gamma+1}`, faster than cross_entropy.
    Equals: cross_entropy at gamma 0; sampling_free at beta 1 in its variants power, scale and inner.
    Note: written as a power of 1 - p it has nan gradients for gamma < 1 once p rounds to 1; here it has not.
    Source: Lin et al. 2017, eq. 4, arXiv:1708.02002, over softmax instead of sigmoid; paper 000, eq. 3.2.
    Peers: kornia (focal_loss), Keras (CategoricalFocalCrossentropy); torchvision's sigmoid_focal_loss is per
        class, another loss.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        gamma: how fast it fades, >= 0.

    Returns: (batch,) loss in nats.
    """
    log_p = of_target(log_probs, target)
    if gamma == 0:
        return over_target(-log_p, target)
    return over_target(-(gamma * log1m(log_p)).exp() * log_p, target)
