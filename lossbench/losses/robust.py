"""Losses made for wrong labels: each lies between cross-entropy, which learns, and the mean absolute error, which
forgives."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from lossbench.losses.catalogue import register, search, slider, symbol
from lossbench.losses.classification import of_target, over_target
from lossbench.registry import Number, above, at_least

LOG_ZERO = -4.0  # what symmetric cross-entropy takes for log 0


@register(
    title="generalised cross-entropy", colour="vermillion", shown=("q",), soft_target="by_class", origin="surrogate"
)
def generalized_cross_entropy(
    log_probs: Tensor,
    target: Tensor,
    *,
    q: Annotated[float, above(0.0, up_to=1.0), slider(0.01, 1.0, 0.01), search(0.1, 1.0)] = 0.7,
) -> Tensor:
    r"""A power of the target's probability that leads from cross-entropy to the mean absolute error.

    .. math:: L = \frac{1 - p_t^q}{q}

    Use when: wrong labels are expected: q says how much they count.
    Avoid when: classes are many and q is near 1: it hardly learns from a fresh start.
    Range: [0, 1/q].
    Gradient: :math:`\partial L / \partial z_j = -p_t^q (Y_j - p_j)` on the softmax logits.
    At p -> 0: levels off at 1/q, and the gradient vanishes like :math:`p^q`.
    At p -> 1: falls to 0 like 1 - p.
    Equals: cross_entropy in the limit q -> 0; half the mean absolute error of paper 001's references at q 1; adma
        :math:`\approx` e a times it for q = a and small a.
    Note: computed as :math:`-expm1(q \log p) / q`, which keeps its digits for small q and near p = 1.
    Source: Zhang and Sabuncu 2018, eq. 6, arXiv:1805.07836, with its q of 0.7; the mean absolute error: Ghosh et al.
        2017, arXiv:1712.09482.
    Peers: Keras (CategoricalGeneralizedCrossEntropy, q 0.5).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        q: 0 < q <= 1; the larger, the less a label counts that the model does not believe.

    Returns: (batch,) loss.
    """
    return over_target(-torch.expm1(q * of_target(log_probs, target)) / q, target)


@register(
    title="symmetric cross-entropy", colour="blue", shown=("alpha", "beta"), soft_target="whole", origin="heuristic"
)
def symmetric_cross_entropy(
    log_probs: Tensor,
    target: Tensor,
    *,
    alpha: Annotated[float, at_least(0.0), slider(0.0, 6.0, 0.1), search(0.01, 6.0, log=True), symbol("α")] = 0.1,
    beta: Annotated[float, at_least(0.0), slider(0.0, 2.0, 0.1), search(0.1, 2.0, log=True), symbol("β")] = 1.0,
) -> Tensor:
    r"""Cross-entropy plus cross-entropy with prediction and target exchanged.

    .. math:: L = -\alpha \sum_k Y_k \log p_k - \beta \sum_k p_k \max(\log Y_k, -4)

    Use when: wrong labels are expected and training shall start as with cross_entropy.
    Avoid when: labels are clean: it is Poly-1 with a large ε.
    Range: [0, ∞) for class indices; at α 0 [0, 4 β].
    Gradient: :math:`\partial L / \partial z_j = -(\alpha + 4 \beta p_t)(Y_j - p_j)` on the softmax logits, for class
        indices.
    At p -> 0: grows as α times cross_entropy, plus 4 β.
    At p -> 1: falls to 0 like :math:`(\alpha + 4 \beta)(1 - p)`.
    Equals: for class indices α times poly1 with ε = 4 β / α: the second part is :math:`4 \beta (1 - p_t)`, twice β
        times the mean absolute error; cross_entropy at α 1 and β 0.
    Note: -4 stands in for log 0, as in the paper's experiments.
    Source: Wang et al. 2019, Symmetric Cross Entropy for Robust Learning with Noisy Labels, arXiv:1908.06112, eq. 7;
        α and β are theirs for CIFAR-10, which for CIFAR-100 are 6 and 0.1; named in paper 003.
    Peers: none in torch, timm, optax or Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        alpha: weight of cross-entropy, >= 0.
        beta: weight of the reverse one, >= 0.

    Returns: (batch,) loss.
    """
    cross = over_target(-of_target(log_probs, target), target)
    if target.dim() == 2:
        reverse = -(log_probs.exp() * target.log().clamp(min=LOG_ZERO)).sum(1)
    else:
        reverse = LOG_ZERO * torch.expm1(of_target(log_probs, target))
    return alpha * cross + beta * reverse


@register(title="generalised JS", colour="sky", shown=("share",), soft_target="whole", origin="heuristic")
def generalized_js(
    log_probs: Tensor,
    target: Tensor,
    *,
    share: Annotated[float, Number(1e-3, 1 - 1e-3), slider(0.01, 0.99, 0.01), search(0.05, 0.95), symbol("π")] = 0.5,
) -> Tensor:
    r"""Divergence of target and prediction from their weighted mean: a line from cross-entropy to the absolute error.

    .. math:: L = \frac{\pi KL(q \| m) + (1 - \pi) KL(p \| m)}{-(1 - \pi) \log(1 - \pi)}, \quad
        m = \pi q + (1 - \pi) p

    Use when: wrong labels are expected, and targets may be class probabilities.
    Avoid when: training is short: near π = 1 it is as slow as the absolute error.
    Range: [0, H(π) / Z] with :math:`H(\pi) = -\pi \log \pi - (1 - \pi) \log(1 - \pi)` and
        :math:`Z = -(1 - \pi) \log(1 - \pi)`.
    Gradient: :math:`\partial L / \partial z_j = \frac{1 - \pi}{Z} p_t \log \frac{(1 - \pi) p_t}{\pi + (1 - \pi) p_t}
        (Y_j - p_j)` for class indices.
    At p -> 0: levels off at its upper bound, and the gradient vanishes like :math:`p \log p`.
    At p -> 1: falls to 0 like 1 - p.
    Equals: 2 / log 2 times js_divergence at π 0.5; cross_entropy in the limit π -> 0; half the mean absolute error,
        which is generalized_cross_entropy at q 1, in the limit π -> 1.
    Source: Englesson and Azizpour 2021, Generalized Jensen-Shannon Divergence Loss, arXiv:2105.04522, with two
        distributions.
    Peers: none in torch, timm, optax or Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        share: π, the target's share of the mean, from 0.001 to 0.999.

    Returns: (batch,) loss.
    """
    rest = 1 - share
    log_share, log_rest = math.log(share), math.log1p(-share)
    scale = -rest * log_rest
    if target.dim() == 1:
        log_p = of_target(log_probs, target)
        miss = -torch.expm1(log_p)
        log_middle = torch.log1p(-rest * miss)  # of the target; of another class m is (1 - π) p
        # each term is of the size of 1 - p near p = 1
        to_model = log_p.exp() * (log_p - log_middle) - miss * log_rest
        return (rest * to_model - share * log_middle) / scale
    log_middle = torch.logaddexp(target.log() + log_share, log_probs + log_rest)
    to_target = torch.xlogy(target, target) - target * log_middle
    to_model = log_probs.exp() * (log_probs - log_middle)
    return (share * to_target + rest * to_model).sum(1) / scale


@register(title="active-passive loss", colour="orange", shown=("alpha", "beta"), origin="heuristic")
def active_passive(
    log_probs: Tensor,
    target: Tensor,
    *,
    alpha: Annotated[float, at_least(0.0), slider(0.0, 10.0, 0.5), search(0.1, 10.0, log=True), symbol("α")] = 1.0,
    beta: Annotated[float, at_least(0.0), slider(0.0, 10.0, 0.5), search(0.1, 10.0, log=True), symbol("β")] = 1.0,
) -> Tensor:
    r"""Cross-entropy as a share of its sum over all labels, plus the mean absolute error.

    .. math:: L = \alpha \frac{\log p_t}{\sum_k \log p_k} + 2 \beta (1 - p_t)

    Use when: wrong labels are spread evenly over the classes.
    Avoid when: α and β cannot be tuned, or a class can be masked: its logit is in the sum.
    Range: [0, α + 2 β].
    Gradient: with :math:`S = -\sum_k \log p_k` and :math:`c = -\log p_t`, on the softmax logits
        :math:`\partial L / \partial z_j = \alpha [\frac{p_j - Y_j}{S} - \frac{c (C p_j - 1)}{S^2}]
        - 2 \beta p_t (Y_j - p_j)`.
    At p -> 0: stays below α + 2 β; the gradient vanishes like 1/S.
    At p -> 1: falls to 0.
    Equals: at α 0 and β 0.5 generalized_cross_entropy at q 1; with two classes and β 0 the share of the surprise.
    Note: the losses of all labels add up to a constant, which is why wrong labels that are spread evenly do not move
        its minimum. Its gradient is small: the paper tunes α and β, (1, 1) on CIFAR-10 and (10, 1) on CIFAR-100.
    Source: Ma et al. 2020, Normalized Loss Functions for Deep Learning with Noisy Labels, arXiv:2006.13554: NCE + MAE.
    Peers: none in torch, timm, optax or Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices.
        alpha: weight of the normalised cross-entropy, which is active: it raises the target alone.
        beta: weight of the mean absolute error, which is passive: it also lowers the others.

    Returns: (batch,) loss.
    """
    log_p = of_target(log_probs, target)
    return alpha * log_p / log_probs.sum(1) - 2 * beta * torch.expm1(log_p)


@register(title="bi-tempered", colour="purple", shown=("t1",), soft_target="whole", origin="scoring rule")
def bi_tempered(
    log_probs: Tensor,
    target: Tensor,
    *,
    t1: Annotated[float, at_least(0.0, up_to=1.0), slider(0.0, 1.0, 0.05), search(0.2, 1.0), symbol("t₁")] = 0.8,
) -> Tensor:
    r"""Divergence of a tempered logarithm: bounded, and least at the true probabilities all the same.

    .. math:: L = -\log_{t_1} p_t - \frac{1 - \sum_k p_k^{2 - t_1}}{2 - t_1}, \quad
        \log_t x = \frac{x^{1 - t} - 1}{1 - t}

    Use when: some labels are wrong: with tempered_softmax it bounds both what a wrong label costs and how it pulls.
    Avoid when: labels are clean and training is short: both temperatures only slow it down.
    Range: [0, 1 / (1 - t₁)], and [0, ∞) at t₁ 1.
    Gradient: :math:`\partial L / \partial p_k = p_k^{-t_1} (p_k - Y_k)`
    At p -> 0: levels off below 1 / (1 - t₁); with a power of p in place of the logarithm.
    At p -> 1: falls to 0, faster than 1 - p for t₁ below 1.
    Equals: cross_entropy at t₁ 1; C / 2 times mse at t₁ 0.
    Note: the second temperature t₂ is that of the probability function: with probability tempered_softmax and t above 1
        this is the loss of the paper. On softmax only the first one is used.
    Source: Amid et al. 2019, Robust Bi-Tempered Logistic Loss, arXiv:1906.03361; named in paper 001. The default
        t₁ is ours.
    Peers: bi-tempered-loss, the code of the authors; none in torch, timm, optax or Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        t1: the temperature of the logarithm, 0 to 1.

    Returns: (batch,) loss.
    """
    power = 1 - t1
    own = of_target(log_probs, target)
    log_t = torch.expm1(power * own) / power if power else own
    powers = ((1 + power) * log_probs).exp()
    if target.dim() == 1:
        rest = powers.scatter(1, target[:, None], 0.0).sum(1)
        return -log_t + (rest + torch.expm1((1 + power) * own)) / (1 + power)
    spread = target ** (1 + power)
    of_itself = (spread - target) / power if power else torch.xlogy(target, target)
    return (of_itself - target * log_t + (powers - spread) / (1 + power)).sum(1)
