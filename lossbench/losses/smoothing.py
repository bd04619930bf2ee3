"""Cross-entropy with a second term: what practice adds to it against confidence or for the last bit of accuracy."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, expm1

from lossbench.losses.catalogue import register, search, slider, symbol
from lossbench.losses.classification import of_target, over_target
from lossbench.registry import above, at_least, whole


@register(title="label smoothing", colour="sky", shown=("epsilon",), soft_target="by_class", origin="heuristic")
def label_smoothing(
    log_probs: Tensor,
    target: Tensor,
    *,
    epsilon: Annotated[float, at_least(0.0, up_to=1.0), slider(0.0, 0.5, 0.01), search(0.01, 0.3), symbol("ε")] = 0.1,
) -> Tensor:
    r"""Cross-entropy with a share of the target given to all classes alike.

    .. math:: L = -(1 - \epsilon) \log p_t - \frac{\epsilon}{C} \sum_k \log p_k

    Use when: a recipe for clean labels shall be calibrated better at no cost.
    Avoid when: the size of the probabilities is used afterwards, as in distillation, or classes can be masked.
    Range: at least the entropy of the smoothed target, which is above 0 for ε > 0; no upper bound.
    Gradient: :math:`\partial L / \partial z_j = p_j - (1 - \epsilon) Y_j - \frac{\epsilon}{C}` on the softmax logits.
    At p -> 0: grows without bound as :math:`-(1 - \epsilon + \epsilon / C) \log p`.
    At p -> 1: grows without bound, since the other classes fall to 0; the minimum is at
        :math:`p_t = 1 - \epsilon + \epsilon / C`.
    Equals: cross_entropy on smoothed targets, and at ε 0; cross_entropy plus :math:`\epsilon / (1 - \epsilon)` times
        the divergence KL(u || p) of p from the uniform u, up to scale and a constant, where confidence_penalty takes
        the divergence the other way round.
    Note: `Criterion(..., label_smoothing=0.1)` smooths the target of any other loss that takes class probabilities. A
        class masked with a logit of -inf makes the loss infinite: its share of the target cannot be met.
    Source: Szegedy et al. 2016, section 7, arXiv:1512.00567; Müller et al. 2019, arXiv:1906.02629.
    Peers: torch (CrossEntropyLoss(label_smoothing=0.1)), timm (LabelSmoothingCrossEntropy), optax
        (smooth_labels), Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        epsilon: the share, between 0 and 1.

    Returns: (batch,) loss in nats.
    """
    loss = over_target(-of_target(log_probs, target), target)
    if epsilon == 0:
        return loss
    evenly = -log_probs.mean(1)
    return (1 - epsilon) * loss + epsilon * (evenly * target.sum(1) if target.dim() == 2 else evenly)


@register(title="Poly-1", colour="green", shown=("epsilon",), soft_target="by_class", origin="heuristic")
def poly1(
    log_probs: Tensor,
    target: Tensor,
    *,
    epsilon: Annotated[float, at_least(-1.0), slider(-1.0, 6.0, 0.1), search(0.5, 6.0), symbol("ε")] = 2.0,
) -> Tensor:
    r"""Cross-entropy with the first term of its series in 1 - p made heavier or lighter.

    .. math:: L = -\log p_t + \epsilon (1 - p_t)

    Use when: the last tenths of a point are looked for, with one number to tune.
    Avoid when: there is no budget for tuning: its best ε depends on the data.
    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = -(1 + \epsilon p_t) (Y_j - p_j)` on the softmax logits.
    At p -> 0: as cross_entropy, plus ε.
    At p -> 1: falls to 0 like :math:`(1 + \epsilon)(1 - p)`.
    Equals: cross_entropy at ε 0; symmetric_cross_entropy at α 1 and β = ε / 4, for class indices.
    Source: Leng et al. 2022, PolyLoss, arXiv:2204.12511; its ε on ImageNet is 2 for EfficientNetV2.
    Peers: optax (poly_loss_cross_entropy).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        epsilon: how much the first term is changed, >= -1.

    Returns: (batch,) loss.
    """
    log_p = of_target(log_probs, target)
    return over_target(-log_p - epsilon * expm1(log_p), target)


@register(title="Taylor cross-entropy", colour="orange", shown=("order",), soft_target="by_class", origin="surrogate")
def taylor_cross_entropy(
    log_probs: Tensor,
    target: Tensor,
    *,
    order: Annotated[int, whole(1, up_to=64), slider(1, 12, 1), search(1, 12), symbol("n")] = 4,
) -> Tensor:
    r"""The first terms of the series of cross-entropy in 1 - p: bounded, between MAE and cross-entropy.

    .. math:: L = \sum_{k=1}^{n} \frac{(1 - p_t)^k}{k}

    Use when: wrong labels are expected, and how much to forgive shall be a whole number.
    Avoid when: labels are clean: low orders learn slowly.
    Range: [0, 1 + 1/2 + ... + 1/n].
    Gradient: :math:`\partial L / \partial z_j = -(1 - (1 - p_t)^n) (Y_j - p_j)` on the softmax logits.
    At p -> 0: levels off at the sum of 1/k, and the gradient vanishes like n p.
    At p -> 1: falls to 0 like 1 - p.
    Equals: generalized_cross_entropy at order 1 and q 1, which is half the mean absolute error; cross_entropy in the
        limit of high order.
    Note: of the loss, not of the softmax: Taylor softmax replaces the exponential instead. Each term is a focal term:
        :math:`(1 - p)^\gamma` times the first term of the series.
    Source: Feng et al. 2020, Can Cross Entropy Loss Be Robust to Label Noise?, IJCAI.
    Peers: none in torch, timm, optax or Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        order: n, how many terms, 1 to 64.

    Returns: (batch,) loss.
    """
    miss = -expm1(of_target(log_probs, target))
    loss = miss / order
    for k in range(order - 1, 0, -1):
        loss = miss * (1 / k + loss)
    return over_target(loss, target)


@register(
    title="logit normalisation",
    colour="purple",
    shown=("tau",),
    soft_target="by_class",
    curve=False,
    origin="heuristic",
)
def logit_norm(
    logits: Tensor,
    target: Tensor,
    *,
    tau: Annotated[float, above(0.0), slider(0.01, 1.0, 0.01), search(0.01, 0.2, log=True), symbol("τ")] = 0.04,
) -> Tensor:
    r"""Cross-entropy of the logits brought to one length, so that confidence cannot grow with their size.

    .. math:: L = -\log \frac{e^{z_t / (\tau \lVert z \rVert)}}{\sum_k e^{z_k / (\tau \lVert z \rVert)}}

    Use when: images of unknown kinds shall be recognised by a low confidence.
    Avoid when: the loss itself is read: its lowest value is not 0 and depends on τ.
    Range: with two classes at least :math:`\log(1 + e^{-√2 / \tau})`; above it and below
        :math:`\log C + 2 / \tau` for any number.
    Gradient: :math:`\partial L / \partial z = (I - u u^\top)(p - Y) / (\tau \lVert z \rVert)` with
        :math:`u = z / \lVert z \rVert` and p the softmax of :math:`u / \tau`: it has no part along z, and shrinks as z
        grows.
    At p -> 0: bounded, as the normalised logits cannot be farther apart than :math:`√2 / \tau`.
    At p -> 1: falls to a lowest value above 0.
    Equals: no other loss here; cross_entropy on logits of length :math:`1 / \tau`.
    Note: ignores the probability function, and is predicted and scored by the softmax of the logits as they are. Logits
        that are all 0 have no direction: their loss is log C, without a gradient. If all but one are 0, the loss jumps
        there, so the explorer draws no curve of it.
    Source: Wei et al. 2022, Mitigating Neural Network Overconfidence with Logit Normalization, arXiv:2205.09310, eq. 5;
        τ is theirs for CIFAR-10.
    Peers: none in torch, timm, optax or Keras.

    Args:
        logits: (batch, classes).
        target: (batch,) class indices, or (batch, classes) class probabilities.
        tau: the temperature, > 0.

    Returns: (batch,) loss in nats.
    """
    length = torch.linalg.vector_norm(logits, dim=1, keepdim=True)
    flat = length == 0
    scale = torch.where(flat, 0.0, 1 / (tau * length.masked_fill(flat, 1.0)))
    log_probs = (logits * scale).log_softmax(1)
    return over_target(-of_target(log_probs, target), target)
