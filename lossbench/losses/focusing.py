"""Cross-entropy weighed by how well the model does on the sample already: relatives of the focal loss."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from lossbench.losses.catalogue import register, search, slider, symbol
from lossbench.losses.classification import log1m, of_target, over_target
from lossbench.losses.scores import over_target_and_rest
from lossbench.registry import above, at_least

LOWEST = -1e4  # log-probabilities below it count as it where their probability is a factor, which is 0 by then


@register(title="focal, sample-dependent", colour="sky", soft_target="by_class", curve=False, origin="heuristic")
def focal_flsd(
    log_probs: Tensor,
    target: Tensor,
    *,
    gamma_below: Annotated[float, at_least(0.0), slider(0.0, 8.0, 0.5), search(0.5, 8.0), symbol("γ₁")] = 5.0,
    gamma_above: Annotated[float, at_least(0.0), slider(0.0, 8.0, 0.5), search(0.5, 8.0), symbol("γ₂")] = 3.0,
    threshold: Annotated[float, at_least(0.0, up_to=1.0), slider(0.0, 1.0, 0.05)] = 0.2,
) -> Tensor:
    r"""Focal loss whose exponent is larger for samples that the model gets wrong: FLSD-53.

    .. math:: L = -(1 - p_t)^{\gamma(p_t)} \log p_t, \quad \gamma(p) = \gamma_1 \text{ for } p < b, \text{ else }
        \gamma_2

    Use when: probabilities must be calibrated without a temperature fitted afterwards.
    Avoid when: the labels are noisy or the training is short: most of the gradient is taken away.
    Range: [0, ∞); it jumps at the threshold b, from :math:`-(1 - b)^5 \log b` up to :math:`-(1 - b)^3 \log b` with the
        defaults.
    Gradient: that of focal with the sample's γ, on either side of the jump.
    At p -> 0: as cross_entropy.
    At p -> 1: falls to 0 like :math:`(1 - p)^{\gamma_2 + 1}`.
    Equals: focal where both γ are the same.
    Source: Mukhoti et al. 2020, Calibrating Deep Neural Networks using Focal Loss, arXiv:2002.09437: γ 5 below 0.2, 3
        above.
    Peers: none in torch, timm, optax or Keras.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        gamma_below: exponent where the target's probability is below the threshold, >= 0.
        gamma_above: exponent elsewhere, >= 0.
        threshold: b, from 0 to 1.

    Returns: (batch,) loss.
    """
    log_p = of_target(log_probs, target)
    gamma = torch.where(log_p.exp() < threshold, gamma_below, gamma_above).to(log_p.dtype)
    return over_target(-(gamma * log1m(log_p)).exp() * log_p, target)


@register(
    title="asymmetric loss", colour="green", shown=("gamma_target", "gamma_rest"), soft_target="by_class",
    origin="heuristic",
)  # fmt: skip
def asymmetric(
    log_probs: Tensor,
    target: Tensor,
    *,
    gamma_target: Annotated[float, at_least(0.0), slider(0.0, 5.0, 0.1), search(0.0, 2.0), symbol("γ₊")] = 0.0,
    gamma_rest: Annotated[float, at_least(0.0), slider(0.0, 8.0, 0.1), search(1.0, 6.0), symbol("γ₋")] = 4.0,
    epsilon: Annotated[float, at_least(0.0, up_to=1.0), slider(0.0, 0.5, 0.01), symbol("ε")] = 0.1,
) -> Tensor:
    r"""Smoothed cross-entropy with one focusing exponent for the target and one for all other classes.

    .. math:: L = -(1 - \epsilon + \tfrac{\epsilon}{C}) (1 - p_t)^{\gamma_+} \log p_t
        - \frac{\epsilon}{C} \sum_{j \ne t} p_j^{\gamma_-} \log p_j

    Use when: a library's recipe asks for the single-label asymmetric loss, and you want to see what is in it.
    Avoid when: there is one label an image and no recipe to follow: what made it known is the case of many labels.
    Range: [0, ∞) for :math:`\gamma_-` > 0.
    Gradient: on the target's probability that of focal; on another class's
        :math:`-\frac{\epsilon}{C} p_j^{\gamma_- - 1} (1 + \gamma_- \log p_j)`.
    At p -> 0: as :math:`1 - \epsilon + \epsilon / C` times cross_entropy.
    At p -> 1: falls to 0 for :math:`\gamma_-` > 0, and grows as label_smoothing does for :math:`\gamma_-` 0.
    Equals: label_smoothing where both γ are 0; focal at ε 0.
    Note: for one label an image, where a softmax holds the classes against each other. The paper's own loss is for
        many labels, on a sigmoid each, and also shifts the probabilities of the wrong ones.
    Source: Ridnik et al. 2020, Asymmetric Loss For Multi-Label Classification, arXiv:2009.14119, for the exponents;
        this form is that of the authors' code, with its defaults.
    Peers: timm (AsymmetricLossSingleLabel, γ₊ 1).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        gamma_target: exponent of the target's term, >= 0.
        gamma_rest: exponent of the other classes' terms, >= 0.
        epsilon: the smoothed share of the target, between 0 and 1; at 0 the other classes have no term.

    Returns: (batch,) loss.
    """
    share = epsilon / log_probs.shape[1]
    own = of_target(log_probs, target)
    faded = -(1 - epsilon + share) * ((gamma_target * log1m(own)).exp() * own if gamma_target else own)
    if epsilon == 0:
        return over_target(faded, target)
    lowest = log_probs.clamp(min=LOWEST) if gamma_rest else log_probs
    rest = (gamma_rest * lowest).exp() * lowest if gamma_rest else lowest
    if target.dim() == 2:
        return over_target_and_rest(faded, -share * rest, target)
    return faded - share * (rest.sum(1) - of_target(rest, target))


@register(
    title="two-scale loss", colour="purple", shown=("inner", "threshold"), reconstruction=True, origin="heuristic"
)
def two_scale(
    log_probs: Tensor,
    target: Tensor,
    *,
    inner: Annotated[
        float, at_least(0.0, up_to=1.0), slider(0.0, 1.0, 0.05), search(0.01, 1.0, log=True), symbol("κ")
    ] = 0.1,
    threshold: Annotated[
        float, at_least(-1.0, up_to=1.0), slider(-1.0, 1.0, 0.05), search(-0.5, 0.9), symbol("b")
    ] = 0.0,
    width: Annotated[float, above(0.0), slider(0.02, 1.0, 0.02), symbol("w")] = 0.1,
) -> Tensor:
    r"""Cross-entropy on one scale for samples that are classified badly, on a smaller one for those classified well.

    .. math:: L = -\left[ \kappa + (1 - \kappa) \sigma \frac{b - \delta}{w} \right] \log p_t, \quad
        \delta = p_t - \max_{j \ne t} p_j

    Use when: you want a focal loss that looks at the lead over the next class instead of at the probability.
    Avoid when: you want the loss of the paper: this is our reading of its abstract.
    Range: [0, ∞).
    Gradient: with s the bracket and F the strongest wrong class, :math:`\partial L / \partial p_t = -s / p_t +
        (1 - \kappa) s' \log p_t / w` and :math:`\partial L / \partial p_F = -(1 - \kappa) s' \log p_t / w`, where s' =
        :math:`\sigma (1 - \sigma)`.
    At p -> 0: as cross_entropy, but for a factor near 1.
    At p -> 1: falls to 0 like :math:`\kappa (1 - p)`.
    Equals: cross_entropy at κ = 1.
    Note: stated in the abstract are the two scales, that training is focused on objects not well classified, and that
        the confidence δ tells which those are. The sigmoid between the scales, and where it stands, are ours.
    Source: Berlyand, Creese and Jabin 2021, A novel multi-scale loss function for classification problems in machine
        learning, arXiv:2106.02676, named in the further research of paper 000.
    Peers: none that we know.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices.
        inner: κ, the scale for samples that are classified well; 1 for the others.
        threshold: b, the confidence that counts as half way.
        width: w > 0, over which the scale changes.

    Returns: (batch,) loss.
    """
    log_p = of_target(log_probs, target)
    strongest = log_probs.scatter(1, target[:, None], -torch.inf).amax(1)
    lead = log_p.exp() - strongest.exp()
    return -(inner + (1 - inner) * ((threshold - lead) / width).sigmoid()) * log_p
