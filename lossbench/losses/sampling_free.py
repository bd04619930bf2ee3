"""The improved sampling-free loss of paper 002, whose text has lost its formulas: a family of reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch.nn.functional as F
from torch import Tensor

from lossbench.entry import search, slider, symbol
from lossbench.losses.primitives import log1m, of_target, over_target
from lossbench.losses.registry import register
from lossbench.registry import any_number, at_least, one_of


def check_pair(params: Mapping[str, Any]) -> None:
    """What beta and gamma may be depends on the variant."""
    variant, beta, gamma = params["variant"], params["beta"], params["gamma"]
    if variant == "power" and beta < 1:
        raise ValueError(f"sampling_free: beta must be at least 1 with variant='power', got {beta:g}")
    if variant in ("scale", "inner") and beta <= 0:
        raise ValueError(f"sampling_free: beta must be above 0 with variant={variant!r}, got {beta:g}")
    if variant == "star" and gamma <= 0:
        raise ValueError(f"sampling_free: gamma must be above 0 with variant='star', got {gamma:g}")


@register(
    title="sampling-free",
    colour="blue",
    shown=("beta", "gamma"),
    soft_target="by_class",
    together=check_pair,
    reconstruction=True,
)
def sampling_free(
    log_probs: Tensor,
    target: Tensor,
    *,
    beta: Annotated[float, any_number(), slider(1.0, 16.0, 0.5), search(1.0, 8.0), symbol("β")] = 4.0,
    gamma: Annotated[float, at_least(0.0), slider(0.0, 21.0, 0.5), search(0.5, 10.0), symbol("γ")] = 5.0,
    variant: Annotated[str, one_of("power", "scale", "inner", "star")] = "power",
) -> Tensor:
    r"""Focal loss with a second parameter that blows up the hard samples.

    .. math:: L = (1 - p_t)^\gamma (-\log p_t)^\beta

    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = -[\beta c^{\beta-1} (1-p_t)^\gamma + \gamma p_t
        (1-p_t)^{\gamma-1} c^\beta] (Y_j - p_j)` with :math:`c = -\log p_t` (variant power).
    At p -> 0: grows like :math:`c^\beta` and its gradient like :math:`\beta c^{\beta-1}`: with the defaults
        3127 at p = 0.0001, against 1 for cross_entropy. Clip the gradient norm.
    At p -> 1: falls to 0 like :math:`(1-p)^{\gamma+\beta}`; the gradient is all but 0 from p = 0.9 on.
    Equals: focal at beta 1 (variants power, scale, inner), hence cross_entropy at beta 1 and gamma 0; variant
        star is cross_entropy at gamma 1 and beta 0, and that on soft_margin_softmax at gamma 1 and beta =
        -margin.
    Note: the formulas are missing from the text we have. It fits focal loss with one more parameter; where
        that stands is our reading. The variants are power as above; scale
        :math:`\beta (1-p_t)^\gamma (-\log p_t)`; inner :math:`(1-p_t^\beta)^\gamma (-\log p_t)`; star
        :math:`\log(1 + e^{-(\gamma x + \beta)}) / \gamma` with x the log-odds of the target.
    Source: paper 002 (Computational Intelligence and Neuroscience 2021, 6660961), reconstructed; defaults are
        its optima for CIFAR-10. Variant star is FL* of Lin et al. 2017, appendix A, arXiv:1708.02002.
    Peers: none.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        beta: at least 1 for power, above 0 for scale and inner, any number for star.
        gamma: how fast the loss fades on easy samples, >= 0; above 0 for star.
        variant: "power", "scale", "inner" or "star".

    Returns: (batch,) loss.
    """
    log_p = of_target(log_probs, target)
    if variant == "star":
        loss = -F.logsigmoid(gamma * (log_p - log1m(log_p)) + beta) / gamma
    elif variant == "inner":
        loss = -fade(beta * log_p, gamma) * log_p
    elif variant == "scale":
        loss = -beta * fade(log_p, gamma) * log_p
    else:
        loss = fade(log_p, gamma) * (-log_p) ** beta
    return over_target(loss, target)


def fade(log_p: Tensor, gamma: float) -> Tensor | float:
    """(1 - p)^gamma, with a finite gradient at p = 1 for every gamma."""
    return (gamma * log1m(log_p)).exp() if gamma else 1.0
